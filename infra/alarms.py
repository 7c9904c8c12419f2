"""An endpoint's alarms, made before the endpoint: its rollback names them."""

from typing import Any

import pulumi
import pulumi_aws as aws

from infra import alarm_plan, plan
from infra.endpoint_spec import EndpointSpec
from infra.surroundings import child, tags


class Alarms(pulumi.ComponentResource):
    """The CloudWatch alarms of an endpoint: for every alarm and variant a standing one, and one that rolls back.

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
        own: dict[str, Any] = {
            "notify": [plan.arn_of(topic) for topic in spec.notify],
            "tags": tags(spec.physical_name),
        }
        made: list[pulumi.Resource] = []
        for watch in alarm_plan.watches(spec):
            alarm = aws.cloudwatch.MetricAlarm(
                f"{name}-{watch.name}",
                **alarm_plan.alarm(spec, watch, config_name=config_name, **own),
                opts=child(self),
            )
            made.append(alarm)
            self.all_names.append(alarm.name)
            if watch.new_fleet:
                self.rollback_names.append(alarm.name)
        for rule in spec.composites:
            # It names its parts as text: CloudWatch wants them to be there, and to outlive it.
            both = aws.cloudwatch.CompositeAlarm(
                f"{name}-{rule.name}", **alarm_plan.composite(spec, rule, **own), opts=child(self, depends_on=made)
            )
            self.all_names.append(both.alarm_name)
        self.register_outputs({"names": self.all_names})
