"""The autoscaling of one variant."""

import pulumi
import pulumi_aws as aws

from infra import plan
from infra.spec import Scaling
from infra.surroundings import child, tags


class VariantScaling(pulumi.ComponentResource):
    """A scalable target and its target-tracking policy. Needs the endpoint: pass it in `opts.depends_on`."""

    def __init__(
        self, name: str, scaling: Scaling, *, endpoint_name: str, variant: str, opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__("sagestage:index:VariantScaling", name, None, opts)
        own = child(self)
        target = aws.appautoscaling.Target(
            name, **plan.scaling_target(endpoint_name, variant, scaling, tags(endpoint_name)), opts=own
        )
        aws.appautoscaling.Policy(
            name,
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            **plan.scaling_policy(scaling),
            opts=own,
        )
        self.register_outputs({"resourceId": target.resource_id})
