"""What a stack declares, as frozen values that validate when they are made.

Every constructor raises SpecError with all that is wrong with the declaration. Nothing here knows Pulumi: values that
other resources give (`Any` below) are passed on untouched. Deployments, scaling, models and the other kinds of hosting
have modules of their own; their names stand here as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any, Protocol, runtime_checkable

from infra import limits
from infra.accelerators import ami_problems
from infra.alarm_spec import Alarm, Composite
from infra.deploy_spec import AllAtOnce, Canary, Deployment, Linear, Rolling
from infra.hosting_spec import Async, Serverless, key_problems
from infra.model_spec import Container, ModelSpec, Network
from infra.scaling_spec import Scaling, Schedule
from infra.values import FROZEN, spec, within

__all__ = [
    "Alarm",
    "AllAtOnce",
    "Async",
    "Canary",
    "Capture",
    "Composite",
    "Container",
    "Deployment",
    "Linear",
    "ModelLike",
    "ModelSpec",
    "Network",
    "Rolling",
    "Scaling",
    "Schedule",
    "Serverless",
    "Variant",
]


@runtime_checkable
class ModelLike(Protocol):
    """What a variant needs of a model: infra.Model, or anything with the name of a SageMaker model."""

    @property
    def model_name(self) -> Any:
        """The SageMaker model's name, as text or as an output of another resource."""


def _count_within_scaling(instances: int | None, scaling: Scaling | None) -> Iterator[str]:
    if instances is not None and scaling is not None and not scaling.minimum <= instances <= scaling.maximum:
        yield f"instances must lie within the scaling, {scaling.minimum} to {scaling.maximum}, got {instances}"


def _one_hosting(instance: str | None, serverless: Serverless | None) -> Iterator[str]:
    if (instance is None) == (serverless is None):
        given = "neither" if instance is None else f"both instance={instance!r} and serverless"
        yield f"it runs on either an instance type or serverless, got {given}"


def _serverless_has_no_machines(
    serverless: Serverless | None,
    instances: int | None,
    startup_timeout_s: int | None,
    download_timeout_s: int | None,
) -> Iterator[str]:
    if serverless is None:
        return
    given = {"instances": instances, "startup_timeout_s": startup_timeout_s, "download_timeout_s": download_timeout_s}
    for field, value in given.items():
        if value is not None:
            yield f"{field} is of no use to a serverless variant, got {value} ({limits.SERVERLESS})"


def _scaling_fits(serverless: Serverless | None, scaling: Scaling | None) -> Iterator[str]:
    if scaling is None:
        return
    if serverless is None:
        if scaling.target == "provisioned_utilisation":
            yield "scaling on provisioned_utilisation is for serverless variants: instances have no such metric"
        return
    if serverless.provisioned is None:
        yield f"a serverless variant scales its provisioned concurrency, and has none ({limits.SERVERLESS})"
        return
    if scaling.target not in {None, "provisioned_utilisation"}:
        yield f"a serverless variant scales on provisioned_utilisation, got {scaling.target} ({limits.SERVERLESS})"
    if scaling.maximum > serverless.concurrency:
        most = serverless.concurrency
        yield f"scaling: maximum must be at most the concurrency, {most}, got {scaling.maximum} ({limits.SERVERLESS})"
    if not scaling.minimum <= serverless.provisioned <= scaling.maximum:
        bounds = f"{scaling.minimum} to {scaling.maximum}"
        yield f"provisioned concurrency must lie within the scaling, {bounds}, got {serverless.provisioned}"


def _starts(model: ModelLike, instance: str | None, ami: str | None) -> Iterator[str]:
    yield from ami_problems(instance, ami, getattr(getattr(model, "spec", None), "cuda", None))


@spec(_one_hosting, _count_within_scaling, _serverless_has_no_machines, _scaling_fits, _starts)
class Variant:
    """A share of an endpoint's traffic, and the fleet that serves it. Name it by role, never by version.

    Attributes:
        name: at most 63 letters, digits and hyphens; it must survive every update.
        model: what the fleet runs.
        weight: share of the traffic relative to the other variants; 0 takes only calls that name the variant.
        instance: an instance type such as ml.c6i.xlarge.
        serverless: instead of instances.
        instances: how many at first; without it the scaling's minimum, or 1.
        scaling: absent: the number of instances stays as it is.
        startup_timeout_s: seconds the container may take to answer /ping; None: SageMaker's own.
        download_timeout_s: seconds the artifact may take to arrive; None: SageMaker's own.
        ami: the machines' image (InferenceAmiVersion): it has the driver that an image with CUDA needs; None:
            SageMaker's choice.
    """

    name: Annotated[str, within(limits.VARIANT_NAME)]
    model: ModelLike
    _: KW_ONLY
    instance: Annotated[str, within(limits.INSTANCE_TYPE)] | None = None
    serverless: Serverless | None = None
    weight: Annotated[float, within(limits.WEIGHT, limits.WEIGHT_EXACT)] = 1
    instances: Annotated[int, within(limits.INSTANCES)] | None = None
    scaling: Scaling | None = None
    startup_timeout_s: Annotated[int, within(limits.STARTUP_S)] | None = None
    download_timeout_s: Annotated[int, within(limits.DOWNLOAD_S)] | None = None
    ami: Annotated[str, within(limits.AMI)] | None = None

    @property
    def count(self) -> int:
        """How many instances the fleet has at first; an asynchronous one that may sleep begins awake."""
        if self.instances is not None:
            return self.instances
        return 1 if self.scaling is None else max(1, self.scaling.minimum)

    @property
    def fewest(self) -> int:
        """The number of instances that an update may find."""
        return self.count if self.scaling is None else min(self.count, max(1, self.scaling.minimum))

    @property
    def most(self) -> int:
        """The largest number of instances that an update may find."""
        return self.count if self.scaling is None else max(self.count, self.scaling.maximum)

    @property
    def unguarded(self) -> bool:
        """Whether SageMaker deploys it all at once, without baking and without alarms, whatever is asked for."""
        return str(self.instance).startswith(limits.NO_GUARDRAILS)


def _content_types(csv_types: Sequence[str], json_types: Sequence[str]) -> Iterator[str]:
    for field, types in (("csv_types", csv_types), ("json_types", json_types)):
        if (problem := limits.CONTENT_TYPES.problem(len(types))) is not None:
            yield f"{field}: their number {problem}"
        for one in types:
            if (problem := limits.CONTENT_TYPE.problem(one)) is not None:
                yield f"{field} {problem}"


def _capture_key(kms_key: Any) -> Iterator[str]:
    yield from key_problems("kms_key", kms_key)


@spec(_content_types, _capture_key)
class Capture:
    """Requests and answers, kept in a bucket of the endpoint's own.

    Attributes:
        percent: how many of 100 requests; 0 keeps the bucket and captures nothing.
        keep_days: days after which a record is deleted.
        csv_types: content types kept as CSV text; what is in neither list is kept base64-encoded.
        json_types: content types kept as JSON text.
        kms_key: ARN of a KMS key for the bucket and the records; None: S3's own keys (SSE-S3).
    """

    percent: Annotated[int, within(limits.CAPTURE_PERCENT)]
    keep_days: Annotated[int, within(limits.KEEP_DAYS)]
    _: KW_ONLY
    csv_types: Annotated[Sequence[str], FROZEN] = ("text/csv",)
    json_types: Annotated[Sequence[str], FROZEN] = ("application/json", "application/jsonlines")
    kms_key: Any = None
