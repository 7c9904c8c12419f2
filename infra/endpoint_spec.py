"""An endpoint as one value: what its parts must not be to one another."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from infra import limits
from infra.alarm_spec import Alarm
from infra.spec import AllAtOnce, Canary, Capture, Variant
from infra.values import spec, within

# Guards an endpoint without alarms of its own, since the rollback configuration is always there.
DEFAULT_ALARM = Alarm.server_errors(above_percent=1)


def _watched(alarms: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    return alarms if any(alarm.rolls_back for alarm in alarms) else (*alarms, DEFAULT_ALARM)


def _known_variants(variants: tuple[Variant, ...], alarms: tuple[Alarm, ...]) -> Iterator[str]:
    names = [variant.name for variant in variants]
    if (problem := limits.VARIANTS.problem(len(variants))) is not None:
        yield f"the number of variants {problem}"
    for name in sorted({name for name in names if names.count(name) > 1}):
        times = names.count(name)
        yield f"variant names must be unique, got {name!r} {times} times (SageMaker API, CreateEndpointConfig)"
    if variants and not any(variant.weight for variant in variants):
        yield "one weight must be above 0, got only 0: no variant would take traffic (SageMaker API, VariantWeight)"
    for alarm in alarms:
        if alarm.variant is not None and alarm.variant not in names:
            yield f"alarm {alarm.name!r} could not fire: there is no variant {alarm.variant!r}, only {', '.join(names)}"


def _unique_alarms(variants: tuple[Variant, ...], alarms: tuple[Alarm, ...]) -> Iterator[str]:
    watched = Counter(
        f"{variant.name}-{alarm.name}"
        for alarm in _watched(alarms)
        for variant in variants
        if alarm.variant in {None, variant.name}
    )
    for name, number in watched.items():
        if number > 1:
            yield f"alarm names must be unique, got {name!r} {number} times: an alarm needs another name or variant="


def _rollback_alarms(variants: tuple[Variant, ...], alarms: tuple[Alarm, ...]) -> Iterator[str]:
    number = sum(1 if alarm.variant else len(variants) for alarm in _watched(alarms) if alarm.rolls_back)
    if (problem := limits.ROLLBACK_ALARMS.problem(number)) is not None:
        yield f"the number of rollback alarms, one per variant each, {problem}: name a variant= or leave some out"


def _alarms_fit_the_bake(alarms: tuple[Alarm, ...], deploy: Canary | AllAtOnce) -> Iterator[str]:
    longest = deploy.bake_minutes - limits.ALARM_SLACK_MINUTES
    for alarm in _watched(alarms):
        if alarm.rolls_back and alarm.minutes >= longest:
            yield (
                f"alarm {alarm.name!r} could not fire while the new fleet bakes: its minutes must be fewer than"
                f" bake_minutes - {limits.ALARM_SLACK_MINUTES} = {longest}, got {alarm.minutes} ({limits.GUARDRAILS})"
            )


def _guardrails_hold(variants: tuple[Variant, ...], deploy: Canary | AllAtOnce) -> Iterator[str]:
    for variant in variants:
        if isinstance(deploy, Canary) and variant.count < limits.CANARY_INSTANCES.value:
            yield (
                f"variant {variant.name!r} needs at least {limits.CANARY_INSTANCES.value:g} instances for a canary,"
                f" got {variant.count} ({limits.CANARY_INSTANCES.source})"
            )
        if isinstance(deploy, Canary) and variant.instance.startswith(limits.NO_GUARDRAILS):
            yield (
                f"variant {variant.name!r} on {variant.instance} has no guardrails: SageMaker would deploy it"
                f" all at once, without baking ({limits.GUARDRAILS})"
            )


def _bucket_name(name: str, capture: Capture | None) -> Iterator[str]:
    if capture is not None and not limits.BUCKET_PREFIX.fullmatch(name):
        pattern = limits.BUCKET_PREFIX.pattern
        yield f"name must match {pattern} where there is capture, got {name!r} ({limits.BUCKET_SOURCE})"


@spec(_bucket_name, _known_variants, _unique_alarms, _rollback_alarms, _alarms_fit_the_bake, _guardrails_hold)
class EndpointSpec:
    """An endpoint, whole: what its parts must not be to one another is checked here.

    Attributes:
        name: Pulumi's name, which the names of configuration and capture bucket begin with.
        physical_name: the endpoint's name in SageMaker, at most 63 characters.
        variants: 1 to 10, with unique names.
        capture: absent: nothing is captured.
        alarms: absent: one 5XX-rate alarm per variant guards the deployment.
        deploy: how an update reaches the traffic.
    """

    name: Annotated[str, within(limits.CONFIG_PREFIX)]
    physical_name: Annotated[str, within(limits.ENDPOINT_NAME)]
    variants: tuple[Variant, ...]
    capture: Capture | None = None
    alarms: tuple[Alarm, ...] = ()
    deploy: Canary | AllAtOnce = AllAtOnce()

    @property
    def watched(self) -> tuple[Alarm, ...]:
        """The alarms, with the default one where none of them could roll a deployment back."""
        return _watched(self.alarms)
