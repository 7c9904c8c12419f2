"""An endpoint with everything that it needs in production."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra import names, plan, policies
from infra.alarms import Alarms
from infra.capture import CaptureBucket
from infra.endpoint_spec import EndpointSpec
from infra.model import Model
from infra.scaling import VariantScaling
from infra.spec import Alarm, AllAtOnce, Canary, Capture, Variant
from infra.surroundings import child, home, is_local, tags


class Endpoint(pulumi.ComponentResource):
    """A SageMaker endpoint: configuration, alarms, the endpoint itself, capture and scaling.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        variants: 1 to 10, each a share of the traffic.
        capture: absent: nothing is captured.
        alarms: absent: one 5XX-rate alarm per variant guards the deployments.
        deploy: absent: all at once, with ten minutes under the alarms before the old fleet goes.
        physical_name: the endpoint's name in SageMaker, at most 63 characters.
        opts: Pulumi's options.

    Attributes:
        name: the physical name, as an output that waits for the endpoint.
        spec: what was declared.

    Raises:
        SpecError: every documented limit that the declaration breaks.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    config_name: pulumi.Output[str]
    capture_uri: pulumi.Output[str] | None
    spec: EndpointSpec

    def __init__(
        self,
        name: str,
        *,
        variants: Sequence[Variant],
        capture: Capture | None = None,
        alarms: Sequence[Alarm] = (),
        deploy: Canary | AllAtOnce | None = None,
        physical_name: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        project, stack = pulumi.get_project(), pulumi.get_stack()
        self.spec = spec = EndpointSpec(
            name,
            names.physical_endpoint(project, stack, name) if physical_name is None else physical_name,
            variants=tuple(variants),
            capture=capture,
            alarms=tuple(alarms),
            deploy=AllAtOnce() if deploy is None else deploy,
        )
        super().__init__("sagestage:index:Endpoint", name, None, opts)
        own_tags = tags(spec.physical_name)
        bucket = self._capture_bucket()
        config = aws.sagemaker.EndpointConfiguration(
            name,
            **plan.endpoint_config(spec, capture_uri=None if bucket is None else bucket.uri, tags=own_tags),
            opts=child(self, retain_on_delete=True),
        )
        watch = Alarms(name, spec, config.name, opts=child(self))
        first = [*self._role_policies(bucket), *([] if bucket is None else bucket.secured)]
        endpoint = aws.sagemaker.Endpoint(
            name,
            **plan.endpoint(spec, config_name=config.name, alarm_names=watch.rollback_names, tags=own_tags),
            opts=child(self, depends_on=first, protect=not is_local()),
        )
        for variant in spec.variants:
            if variant.scaling is not None:
                VariantScaling(
                    f"{name}-{variant.name}",
                    variant.scaling,
                    endpoint_name=spec.physical_name,
                    variant=variant.name,
                    opts=child(self, depends_on=[endpoint]),
                )
        self.name, self.arn, self.config_name = endpoint.name, endpoint.arn, config.name
        self.capture_uri = None if bucket is None else bucket.uri
        self.register_outputs(
            {"name": self.name, "arn": self.arn, "configName": self.config_name, "captureUri": self.capture_uri}
        )

    def _capture_bucket(self) -> CaptureBucket | None:
        if self.spec.capture is None:
            return None
        return CaptureBucket(f"{self.spec.name}-capture", self.spec.capture, self.spec.physical_name, opts=child(self))

    def _role_policies(self, bucket: CaptureBucket | None) -> list[pulumi.Resource]:
        """What the roles of the models need on top to run behind this endpoint; printed for roles that were given."""
        capture = self.spec.capture
        place = None if bucket is None else pulumi.Output.format("{0}/{1}", bucket.bucket, plan.CAPTURE_PREFIX)
        document = pulumi.Output.all(home(self), place, None if capture is None else capture.kms_key).apply(
            lambda of: policies.endpoint(of[0], endpoint_name=self.spec.physical_name, capture=of[1], kms_key=of[2])
        )
        models = {id(variant.model): variant.model for variant in self.spec.variants}
        made: list[pulumi.Resource] = []
        for model in models.values():
            if isinstance(model, Model) and model.role_name is not None:
                name = f"{self.spec.name}-{model.spec.name}"
                made.append(aws.iam.RolePolicy(name, role=model.role_name, policy=document, opts=child(self)))
            elif isinstance(model, Model):
                advise = (
                    f"the role of model {model.spec.name} was given: it needs this policy for {self.spec.physical_name}"
                )
                pulumi.Output.format("{0}: {1}", advise, document).apply(pulumi.log.info)
        return made
