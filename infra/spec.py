"""What a stack declares, as frozen values that validate when they are made.

Every constructor raises SpecError with all that is wrong with the declaration. Nothing here knows Pulumi: values that
other resources give (`Any` below) are passed on untouched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY
from typing import Annotated, Any, Protocol, runtime_checkable

from infra import limits
from infra.alarm_spec import Alarm
from infra.names import DIGEST_VARIABLE, artifact_problems
from infra.values import spec, within

__all__ = ["Alarm", "AllAtOnce", "Canary", "Capture", "ModelLike", "ModelSpec", "Scaling", "Variant"]


@runtime_checkable
class ModelLike(Protocol):
    """What a variant needs of a model: infra.Model, or anything with the name of a SageMaker model."""

    @property
    def model_name(self) -> Any:
        """The SageMaker model's name, as text or as an output of another resource."""


def _ordered(minimum: int, maximum: int) -> Iterator[str]:
    if minimum > maximum:
        source = "Application Auto Scaling, RegisterScalableTarget"
        yield f"minimum must be at most maximum, got {minimum} > {maximum} ({source})"


@spec(_ordered)
class Scaling:
    """Target tracking on the invocations of one instance in one minute.

    Attributes:
        minimum: instances, at least 1.
        maximum: instances.
        invocations_per_minute: what one instance is to serve; instances are added above it.
        scale_in_cooldown_s: seconds after a removal before the next; AWS's default is 300.
        scale_out_cooldown_s: seconds after an addition before the next.
    """

    minimum: Annotated[int, within(limits.CAPACITY)]
    maximum: Annotated[int, within(limits.CAPACITY)]
    invocations_per_minute: Annotated[float, within(limits.INVOCATIONS)]
    _: KW_ONLY
    scale_in_cooldown_s: Annotated[int, within(limits.COOLDOWN_S)] = 300
    scale_out_cooldown_s: Annotated[int, within(limits.COOLDOWN_S)] = 300


def _count_within_scaling(instances: int | None, scaling: Scaling | None) -> Iterator[str]:
    if instances is not None and scaling is not None and not scaling.minimum <= instances <= scaling.maximum:
        yield f"instances must lie within the scaling, {scaling.minimum} to {scaling.maximum}, got {instances}"


@spec(_count_within_scaling)
class Variant:
    """A share of an endpoint's traffic, and the fleet that serves it. Name it by role, never by version.

    Attributes:
        name: at most 63 letters, digits and hyphens; it must survive every update.
        model: what the fleet runs.
        weight: share of the traffic relative to the other variants; 0 takes only calls that name the variant.
        instance: an instance type such as ml.c6i.xlarge.
        instances: how many at first; without it the scaling's minimum, or 1.
        scaling: absent: the number of instances stays as it is.
        startup_timeout_s: seconds the container may take to answer /ping; None: SageMaker's own.
        download_timeout_s: seconds the artifact may take to arrive; None: SageMaker's own.
    """

    name: Annotated[str, within(limits.VARIANT_NAME)]
    model: ModelLike
    _: KW_ONLY
    instance: Annotated[str, within(limits.INSTANCE_TYPE)]
    weight: Annotated[float, within(limits.WEIGHT, limits.WEIGHT_EXACT)] = 1
    instances: Annotated[int, within(limits.INSTANCES)] | None = None
    scaling: Scaling | None = None
    startup_timeout_s: Annotated[int, within(limits.STARTUP_S)] | None = None
    download_timeout_s: Annotated[int, within(limits.DOWNLOAD_S)] | None = None

    @property
    def count(self) -> int:
        """How many instances the fleet has at first."""
        if self.instances is not None:
            return self.instances
        return 1 if self.scaling is None else self.scaling.minimum


def _content_types(csv_types: tuple[str, ...], json_types: tuple[str, ...]) -> Iterator[str]:
    for field, types in (("csv_types", csv_types), ("json_types", json_types)):
        if (problem := limits.CONTENT_TYPES.problem(len(types))) is not None:
            yield f"{field}: their number {problem}"
        for one in types:
            if (problem := limits.CONTENT_TYPE.problem(one)) is not None:
                yield f"{field} {problem}"


@spec(_content_types)
class Capture:
    """Requests and answers, kept in a bucket of the endpoint's own.

    Attributes:
        percent: how many of 100 requests; 0 keeps the bucket and captures nothing.
        keep_days: days after which a record is deleted.
        csv_types: content types kept as CSV text; what is in neither list is kept base64-encoded.
        json_types: content types kept as JSON text.
        kms_key: ARN of a KMS key for the bucket; None: S3's own keys (SSE-S3).
    """

    percent: Annotated[int, within(limits.CAPTURE_PERCENT)]
    keep_days: Annotated[int, within(limits.KEEP_DAYS)]
    _: KW_ONLY
    csv_types: tuple[str, ...] = ("text/csv",)
    json_types: tuple[str, ...] = ("application/json", "application/jsonlines")
    kms_key: Any = None


def _waits(bake_minutes: int, keep_old_minutes: int) -> Iterator[str]:
    total = bake_minutes + keep_old_minutes
    if total > limits.WAITS_MINUTES.value:
        yield (
            f"bake_minutes + keep_old_minutes must be at most {limits.WAITS_MINUTES.value:g}, got {total}"
            f" ({limits.WAITS_MINUTES.source})"
        )


def _time_for_waits(bake_minutes: int, keep_old_minutes: int, maximum_minutes: int | None) -> Iterator[str]:
    total = bake_minutes + keep_old_minutes
    if maximum_minutes is not None and maximum_minutes <= total:
        source = "SageMaker API, BlueGreenUpdatePolicy"
        yield f"maximum_minutes must be above the sum of the waits, {total}, got {maximum_minutes} ({source})"


@spec(_waits, _time_for_waits)
class Canary:
    """A new fleet takes a part of the traffic first, and the rest when no rollback alarm fired while it baked.

    Attributes:
        percent: of each variant's capacity, at most 50.
        bake_minutes: how long the alarms watch the canary.
        keep_old_minutes: how long the old fleet stays after all traffic moved; alarms still roll back to it.
        maximum_minutes: the whole update's limit; None: the waits and half an hour to start the fleet.
    """

    percent: Annotated[int, within(limits.CANARY_PERCENT)]
    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)]
    _: KW_ONLY
    keep_old_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 5
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None


def _all_at_once_waits(bake_minutes: int) -> Iterator[str]:
    yield from _waits(bake_minutes, 0)


def _all_at_once_time(bake_minutes: int, maximum_minutes: int | None) -> Iterator[str]:
    yield from _time_for_waits(bake_minutes, 0, maximum_minutes)


@spec(_all_at_once_waits, _all_at_once_time)
class AllAtOnce:
    """A new fleet takes all traffic at once; the old one stays while it bakes, and takes it back when an alarm fires.

    Attributes:
        bake_minutes: how long the alarms watch the new fleet before the old one goes.
        maximum_minutes: the whole update's limit; None: the wait and half an hour to start the fleet.
    """

    bake_minutes: Annotated[int, within(limits.WAIT_MINUTES)] = 10
    _: KW_ONLY
    maximum_minutes: Annotated[int, within(limits.MAXIMUM_MINUTES)] | None = None


def _environment(environment: Mapping[str, Any]) -> Iterator[str]:
    for name, value in environment.items():
        if (problem := limits.ENVIRONMENT_NAME.problem(name)) is not None:
            yield f"environment: a name {problem}"
        if name == DIGEST_VARIABLE:
            yield f"environment: {DIGEST_VARIABLE} is taken from the artifact's key, got {value!r}"
        if isinstance(value, str) and (problem := limits.ENVIRONMENT_VALUE.problem(value)) is not None:
            yield f"environment: {name} {problem}"


def _texts(image: Any, artifact: Any, role: Any) -> Iterator[str]:
    for field, limit, value in (
        ("image", limits.IMAGE, image),
        ("artifact", limits.ARTIFACT, artifact),
        ("role", limits.ROLE_ARN, role),
    ):
        if isinstance(value, str) and (problem := limit.problem(value)) is not None:
            yield f"{field} {problem}"
    if isinstance(artifact, str):
        yield from artifact_problems(artifact)


@spec(_environment, _texts)
class ModelSpec:
    """A model: an image and an artifact whose key carries the artifact's content digest.

    Attributes:
        name: Pulumi's name of it; the physical name is this and a suffix of Pulumi's.
        image: the serving image, as text or as an output of another resource.
        artifact: `s3://<bucket>/…/<sha256>/model.tar.gz`, as text or as an output of another resource.
        role: ARN of a role that SageMaker may assume; None: one is made.
        environment: variables of the container.
    """

    name: Annotated[str, within(limits.MODEL_PREFIX)]
    image: Any
    artifact: Any
    _: KW_ONLY
    role: Any = None
    environment: Mapping[str, Any]
