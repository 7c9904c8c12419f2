"""An endpoint's alarms, made before the endpoint: its rollback names them."""

import pulumi
import pulumi_aws as aws

from infra import plan
from infra.endpoint_spec import EndpointSpec
from infra.surroundings import child, tags


class Alarms(pulumi.ComponentResource):
    """One CloudWatch alarm for every alarm and variant.

    Attributes:
        rollback_names: the names of those that take a deployment back.
        all_names: the names of all.
    """

    rollback_names: list[pulumi.Output[str]]
    all_names: list[pulumi.Output[str]]

    def __init__(
        self, name: str, spec: EndpointSpec, config_name: pulumi.Output[str], opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("sagestage:index:Alarms", name, None, opts)
        self.rollback_names, self.all_names = [], []
        for watch in plan.watches(spec):
            alarm = aws.cloudwatch.MetricAlarm(
                f"{name}-{watch.name}",
                **plan.alarm(spec, watch, config_name=config_name, tags=tags(spec.physical_name)),
                opts=child(self),
            )
            self.all_names.append(alarm.name)
            if watch.alarm.rolls_back:
                self.rollback_names.append(alarm.name)
        self.register_outputs({"names": self.all_names})
