"""The scaling of one variant."""

import pulumi
import pulumi_aws as aws

from infra import scaling_plan
from infra.spec import Variant
from infra.surroundings import child, tags


class VariantScaling(pulumi.ComponentResource):
    """A scalable target, what it follows, and its schedule. Needs the endpoint: pass it in `opts.depends_on`."""

    def __init__(self, name: str, variant: Variant, *, endpoint_name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__("sagestage:index:VariantScaling", name, None, opts)
        scaling = variant.scaling
        if scaling is None:
            raise ValueError(f"variant {variant.name!r} does not scale")
        own, marks = child(self), tags(endpoint_name)
        target = aws.appautoscaling.Target(
            name,
            **scaling_plan.target(
                endpoint_name, variant.name, scaling, marks, serverless=variant.serverless is not None
            ),
            opts=own,
        )
        identity = {
            "service_namespace": target.service_namespace,
            "scalable_dimension": target.scalable_dimension,
            "resource_id": target.resource_id,
        }
        follows = scaling_plan.policy(scaling, endpoint_name)
        if follows is not None:
            aws.appautoscaling.Policy(name, **identity, **follows, opts=own)
        if scaling_plan.wakes(scaling):
            wake = aws.appautoscaling.Policy(f"{name}-wake", **identity, **scaling_plan.wake_policy(), opts=own)
            aws.cloudwatch.MetricAlarm(
                f"{name}-wake", **scaling_plan.wake_alarm(endpoint_name, variant.name, wake.arn, marks), opts=own
            )
        before: list[pulumi.Resource] = []
        for one in scaling.schedule:
            # Application Auto Scaling refuses concurrent changes of one target's schedule.
            action = aws.appautoscaling.ScheduledAction(
                f"{name}-{one.name}",
                **identity,
                **scaling_plan.scheduled(endpoint_name, variant.name, one),
                opts=child(self, depends_on=before),
            )
            before = [action]
        self.register_outputs({"resourceId": target.resource_id})
