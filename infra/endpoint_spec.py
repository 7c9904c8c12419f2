"""An endpoint as one value: what its parts must not be to one another."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from infra import limits, metrics
from infra.alarm_spec import Alarm, Composite
from infra.deploy_spec import AllAtOnce, Canary, Deployment, Linear, Rolling, step_problem, waiting_problems
from infra.endpoint_rules import alarm_problems, hosting_of, hosting_problems
from infra.hosting_spec import Async, key_problems, topic_problems
from infra.names import tag_problems
from infra.spec import Capture, Variant
from infra.values import spec, within

# Guards an endpoint without alarms of its own, since the rollback configuration is always there.
DEFAULT_ALARM = Alarm.server_errors(above_percent=1)
Variants = tuple[Variant, ...]
Alarms = tuple[Alarm | Composite, ...]


def _watched(alarms: Alarms) -> tuple[Alarm, ...]:
    simple = tuple(alarm for alarm in alarms if isinstance(alarm, Alarm))
    return simple if any(alarm.rolls_back for alarm in simple) else (*simple, DEFAULT_ALARM)


def _known_variants(variants: Variants, shadow: Variant | None, alarms: Alarms) -> Iterator[str]:
    names = [variant.name for variant in (*variants, *([shadow] if shadow else []))]
    if (problem := limits.VARIANTS.problem(len(variants))) is not None:
        yield f"the number of variants {problem}"
    for name in sorted({name for name in names if names.count(name) > 1}):
        times = names.count(name)
        yield f"variant names must be unique, got {name!r} {times} times (SageMaker API, CreateEndpointConfig)"
    if variants and not any(variant.weight for variant in variants):
        yield "one weight must be above 0, got only 0: no variant would take traffic (SageMaker API, VariantWeight)"
    for alarm in alarms:
        if isinstance(alarm, Alarm) and alarm.variant is not None and alarm.variant not in names:
            yield f"alarm {alarm.name!r} could not fire: there is no variant {alarm.variant!r}, only {', '.join(names)}"


def _unique_alarms(variants: Variants, alarms: Alarms) -> Iterator[str]:
    watched = Counter(
        f"{variant}-{alarm.name}" for alarm in _watched(alarms) for variant in _targets(alarm, variants)
    ) + Counter(alarm.name for alarm in alarms if isinstance(alarm, Composite))
    for name, number in watched.items():
        if number > 1:
            yield f"alarm names must be unique, got {name!r} {number} times: an alarm needs another name or variant="


def _targets(alarm: Alarm, variants: Variants) -> list[str]:
    known = metrics.METRICS.get(alarm.metric)
    if alarm.variant is not None:
        return [alarm.variant]
    if (known is not None and not alarm.published_by and not known.by_variant) or alarm.dimensions is not None:
        return ["endpoint"]
    return [variant.name for variant in variants]


def _composite_rules(physical_name: str, variants: Variants, alarms: Alarms) -> Iterator[str]:
    """The rule names every part of every variant, each as `(ALARM("<endpoint>-<variant>-<alarm>") OR `."""
    for rule in alarms:
        if not isinstance(rule, Composite):
            continue
        names = [
            f'(ALARM("{physical_name}-{target}-{alarm.name}") AND '
            for alarm in _watched(alarms)
            if alarm.name in rule.parts
            for target in _targets(alarm, variants)
        ]
        if (problem := limits.COMPOSITE_RULE.problem(sum(map(len, names)))) is not None:
            yield f"composite {rule.name!r}: its rule {problem}: name fewer alarms"


def _composites(alarms: Alarms) -> Iterator[str]:
    names = {alarm.name for alarm in _watched(alarms)}
    for alarm in alarms:
        for part in alarm.parts if isinstance(alarm, Composite) else ():
            if part not in names:
                known = ", ".join(sorted(names)) or "none"
                yield f"composite {alarm.name!r} could not fire: there is no alarm {part!r}, only {known}"


def _rollback_alarms(variants: Variants, alarms: Alarms) -> Iterator[str]:
    if any(variant.serverless for variant in variants):
        return
    number = sum(len(_targets(alarm, variants)) for alarm in _watched(alarms) if alarm.rolls_back)
    if variants and (problem := limits.ROLLBACK_ALARMS.problem(number)) is not None:
        yield f"the number of rollback alarms, one per variant each, {problem}: name a variant= or leave some out"


def _alarms_fit_the_bake(variants: Variants, alarms: Alarms, deploy: Deployment | None) -> Iterator[str]:
    if any(variant.serverless for variant in variants):
        return
    bake = AllAtOnce() if deploy is None else deploy
    longest = bake.bake_minutes - limits.ALARM_SLACK_MINUTES
    for alarm in _watched(alarms):
        if alarm.rolls_back and alarm.minutes >= longest:
            yield (
                f"alarm {alarm.name!r} could not fire while the new fleet bakes: its minutes must be fewer than"
                f" bake_minutes - {limits.ALARM_SLACK_MINUTES} = {longest}, got {alarm.minutes} ({limits.GUARDRAILS})"
            )


def _alarms_can_fire(
    variants: Variants, shadow: Variant | None, alarms: Alarms, asynchronous: Async | None
) -> Iterator[str]:
    everywhere = {variant.name: variant for variant in (*variants, *([shadow] if shadow else []))}
    kind = hosting_of(variants, asynchronous)
    for alarm in _watched(alarms):
        concerned = [everywhere[alarm.variant]] if alarm.variant in everywhere else list(variants)
        yield from alarm_problems(alarm, concerned, kind)


def _guardrails_hold(variants: Variants, deploy: Deployment | None) -> Iterator[str]:
    if any(variant.serverless for variant in variants):
        if deploy is not None:
            kind = type(deploy).__name__
            yield f"deploy={kind} has no effect: a serverless endpoint has no guardrails ({limits.SERVERLESS})"
        return
    policy = AllAtOnce() if deploy is None else deploy
    if isinstance(policy, Rolling) and len(variants) > 1:
        yield f"a rolling update takes one variant, got {len(variants)} ({limits.GUARDRAILS})"
    for variant in variants:
        if (problem := step_problem(policy, variant.fewest)) is not None:
            yield f"variant {variant.name!r} {problem} ({limits.CANARY_INSTANCES.source})"
        yield from waiting_problems(policy, variant.most)
        if deploy is not None and variant.unguarded:
            yield (
                f"variant {variant.name!r} on {variant.instance} has no guardrails: SageMaker would deploy it"
                f" all at once, without baking, whatever deploy= says: leave it out ({limits.GUARDRAILS})"
            )


def _bucket_name(name: str, capture: Capture | None, asynchronous: Async | None) -> Iterator[str]:
    for kind, value in (("capture", capture), ("asynchronous hosting", asynchronous)):
        if value is not None and not limits.BUCKET_PREFIX.fullmatch(name):
            pattern = limits.BUCKET_PREFIX.pattern
            yield f"name must match {pattern} where there is {kind}, got {name!r} ({limits.BUCKET_SOURCE})"


def _values(kms_key: Any, tags: Mapping[str, Any] | None, notify: tuple[Any, ...]) -> Iterator[str]:
    yield from key_problems("kms_key", kms_key)
    yield from tag_problems(tags or {})
    for topic in notify:
        yield from topic_problems("notify", topic)
    if (problem := limits.ALARM_ACTIONS.problem(len(notify))) is not None:
        yield f"notify: their number {problem}"


@spec(
    _bucket_name,
    _known_variants,
    _unique_alarms,
    _composites,
    _composite_rules,
    _rollback_alarms,
    _alarms_fit_the_bake,
    _alarms_can_fire,
    _guardrails_hold,
    hosting_problems,
    _values,
)
class EndpointSpec:
    """An endpoint, whole: what its parts must not be to one another is checked here.

    Attributes:
        name: Pulumi's name, which the names of configuration and buckets begin with.
        physical_name: the endpoint's name in SageMaker, at most 63 characters.
        variants: 1 to 10, with unique names.
        shadow: a variant that gets copies of the requests, and whose answers nobody sees.
        asynchronous: requests wait in a queue, bodies lie in S3.
        capture: absent: nothing is captured.
        alarms: absent: one 5XX-rate alarm per variant guards the deployment.
        deploy: how an update reaches the traffic; absent: all at once.
        notify: topics that hear of every alarm.
        kms_key: ARN of the key that the instances' volumes are encrypted with.
        tags: further tags.
    """

    name: Annotated[str, within(limits.CONFIG_PREFIX)]
    physical_name: Annotated[str, within(limits.ENDPOINT_NAME)]
    variants: tuple[Variant, ...]
    shadow: Variant | None = None
    asynchronous: Async | None = None
    capture: Capture | None = None
    alarms: tuple[Alarm | Composite, ...] = ()
    deploy: AllAtOnce | Canary | Linear | Rolling | None = None
    notify: tuple[Any, ...] = ()
    kms_key: Any = None
    tags: Mapping[str, Any] | None = None

    @property
    def watched(self) -> tuple[Alarm, ...]:
        """The alarms, with the default one where none of them could roll a deployment back."""
        return _watched(self.alarms)

    @property
    def composites(self) -> tuple[Composite, ...]:
        """The alarms that are made of others."""
        return tuple(alarm for alarm in self.alarms if isinstance(alarm, Composite))

    @property
    def policy(self) -> Deployment | None:
        """How an update reaches the traffic; None: SageMaker's own way with serverless variants."""
        if self.hosting == "serverless":
            return None
        return AllAtOnce() if self.deploy is None else self.deploy

    @property
    def hosting(self) -> metrics.Hosting:
        """What kind of hosting it is."""
        return hosting_of(self.variants, self.asynchronous)

    def targets(self, alarm: Alarm) -> list[str]:
        """What an alarm watches: names of variants, or `endpoint` for a metric of the endpoint as a whole."""
        return _targets(alarm, self.variants)
