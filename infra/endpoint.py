"""An endpoint with everything that it needs in production."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra import names, plan, policies
from infra.alarms import Alarms
from infra.buckets import DataBucket
from infra.endpoint_spec import EndpointSpec
from infra.model import Model
from infra.scaling import VariantScaling
from infra.spec import Alarm, AllAtOnce, Async, Canary, Capture, Composite, Linear, Rolling, Variant
from infra.surroundings import child, home, is_local
from infra.surroundings import tags as stack_tags
from infra.topic import Topic


class Endpoint(pulumi.ComponentResource):
    """A SageMaker endpoint: configuration, alarms, the endpoint itself, capture and scaling.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        variants: 1 to 10, each a share of the traffic.
        shadow: a variant that gets copies of the one other variant's requests; nobody sees its answers.
        asynchronous: requests wait in a queue, and bodies lie in a bucket of the endpoint's own.
        capture: absent: nothing is captured.
        alarms: absent: one 5XX-rate alarm per variant guards the deployments.
        deploy: absent: all at once, with ten minutes under the alarms before the old fleet goes.
        notify: Topics, or ARNs of topics, that hear of every alarm; at most 5.
        kms_key: ARN of the KMS key of the instances' volumes; absent: SageMaker's own keys.
        tags: further tags of everything that it makes.
        physical_name: the endpoint's name in SageMaker, at most 63 characters.
        opts: Pulumi's options.

    Attributes:
        name: the physical name, as an output that waits for the endpoint.
        arn: its ARN.
        config_name: the configuration that it runs.
        capture_uri: where captured records lie; None without capture.
        input_uri: where the requests of an asynchronous endpoint are put; None for others.
        alarm_names: the names of its alarms.
        spec: what was declared.

    Raises:
        SpecError: every documented limit that the declaration breaks.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    config_name: pulumi.Output[str]
    capture_uri: pulumi.Output[str] | None
    input_uri: pulumi.Output[str] | None
    alarm_names: list[pulumi.Output[str]]
    spec: EndpointSpec

    def __init__(  # noqa: PLR0913 - what an endpoint is made of, each by its name
        self,
        name: str,
        *,
        variants: Sequence[Variant],
        shadow: Variant | None = None,
        asynchronous: Async | None = None,
        capture: Capture | None = None,
        alarms: Sequence[Alarm | Composite] = (),
        deploy: Canary | Linear | Rolling | AllAtOnce | None = None,
        notify: Sequence[Topic | pulumi.Input[str]] = (),
        kms_key: pulumi.Input[str] | None = None,
        tags: Mapping[str, pulumi.Input[str]] | None = None,
        physical_name: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        physical = names.physical(pulumi.get_project(), pulumi.get_stack(), name)
        self.spec = spec = EndpointSpec(
            name,
            physical if physical_name is None else physical_name,
            variants=tuple(variants),
            shadow=shadow,
            asynchronous=asynchronous,
            capture=capture,
            alarms=tuple(alarms),
            deploy=deploy,
            notify=tuple(notify),
            kms_key=kms_key,
            tags=tags,
        )
        super().__init__("sagestage:index:Endpoint", name, None, opts)
        for variant in spec.variants:
            if variant.unguarded:
                what = f"variant {variant.name} runs on {variant.instance}, which has no deployment guardrails"
                pulumi.log.warn(f"{what}: updates go all at once, and no alarm rolls them back", self)
        own_tags = stack_tags(spec.physical_name)
        captured, queue = self._capture_bucket(), self._queue_bucket()
        self.capture_uri = None if captured is None else captured.uri(plan.CAPTURE_PREFIX)
        self.input_uri = None if queue is None else queue.uri(plan.INPUT_PREFIX)
        config = aws.sagemaker.EndpointConfiguration(
            name,
            **plan.endpoint_config(
                spec,
                capture_uri=self.capture_uri,
                async_uri=None if queue is None else queue.uri,
                tags=own_tags,
            ),
            opts=child(self, retain_on_delete=True),
        )
        watch = Alarms(name, spec, config.name, opts=child(self))
        buckets = [bucket for bucket in (captured, queue) if bucket is not None]
        first = [*self._role_policies(captured, queue), *(one for bucket in buckets for one in bucket.secured)]
        endpoint = aws.sagemaker.Endpoint(
            name,
            **plan.endpoint(spec, config_name=config.name, alarm_names=watch.rollback_names, tags=own_tags),
            opts=child(self, depends_on=first, protect=not is_local()),
        )
        for variant in spec.variants:
            if variant.scaling is not None:
                VariantScaling(
                    f"{name}-{variant.name}",
                    variant,
                    endpoint_name=spec.physical_name,
                    opts=child(self, depends_on=[endpoint]),
                )
        self.name, self.arn, self.config_name = endpoint.name, endpoint.arn, config.name
        self.alarm_names = watch.all_names
        self.register_outputs(
            {
                "name": self.name,
                "arn": self.arn,
                "configName": self.config_name,
                "captureUri": self.capture_uri,
                "inputUri": self.input_uri,
            }
        )

    def _capture_bucket(self) -> DataBucket | None:
        capture = self.spec.capture
        if capture is None:
            return None
        return self._bucket("capture", (plan.CAPTURE_PREFIX,), capture.keep_days, capture.kms_key)

    def _queue_bucket(self) -> DataBucket | None:
        queue = self.spec.asynchronous
        if queue is None:
            return None
        prefixes = (plan.INPUT_PREFIX, plan.OUTPUT_PREFIX, plan.FAILURE_PREFIX)
        return self._bucket("queue", prefixes, queue.keep_days, queue.kms_key)

    def _bucket(self, kind: str, prefixes: tuple[str, ...], keep_days: int, kms_key: Any) -> DataBucket:
        return DataBucket(
            f"{self.spec.name}-{kind}",
            prefixes=prefixes,
            keep_days=keep_days,
            kms_key=kms_key,
            endpoint=self.spec.physical_name,
            opts=child(self),
        )

    def _role_policies(self, captured: DataBucket | None, queue: DataBucket | None) -> list[pulumi.Resource]:
        """What the roles of the models need on top to run behind this endpoint; printed for roles that were given."""
        if self.spec.policy is None and captured is None and queue is None and self.spec.kms_key is None:
            return []  # a serverless endpoint asks nothing more of its models' roles, and IAM takes no empty policy
        document = self._policy(captured, queue)
        variants = [*self.spec.variants, *([self.spec.shadow] if self.spec.shadow else [])]
        models = {id(variant.model): variant.model for variant in variants}
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

    def _policy(self, captured: DataBucket | None, queue: DataBucket | None) -> pulumi.Output[str]:
        spec = self.spec
        topics = (
            []
            if spec.asynchronous is None
            else [plan.arn_of(spec.asynchronous.success_topic), plan.arn_of(spec.asynchronous.error_topic)]
        )
        keys = [None if part is None else part.kms_key for part in (spec.capture, spec.asynchronous)]
        places = [None if bucket is None else bucket.bucket for bucket in (captured, queue)]

        def write(known: Sequence[Any]) -> str:
            here, capture, requests, volume_key, (used_keys, told) = known
            uses = policies.Uses(
                spec.physical_name,
                capture=capture,
                queue=requests,
                volume_key=volume_key,
                keys=tuple(dict.fromkeys(key for key in used_keys if key is not None)),
                topics=tuple(dict.fromkeys(topic for topic in told if topic is not None)),
                guarded=spec.policy is not None,
            )
            return policies.endpoint(here, uses)

        return pulumi.Output.all(home(self), *places, spec.kms_key, [keys, topics]).apply(write)
