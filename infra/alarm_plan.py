"""Alarms as arguments of CloudWatch's resources: pure.

Each alarm that rolls back is made twice. The one that a deployment names carries the EndpointConfigName of the
configuration that is being deployed, so that it sees the new fleet alone: both fleets pooled would hide a bad canary,
whose errors at 10 % of the traffic count a tenth. SageMaker publishes that dimension once a new fleet takes traffic;
so its standing twin, without it, is the one that watches on all other days, and that tells people.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from infra import metrics
from infra.alarm_spec import NO_DATA, Alarm, Composite
from infra.endpoint_spec import EndpointSpec
from infra.spec import Variant

Args = dict[str, Any]
ROLLBACK = "rollback"
SEVERITY_TAG = "sagestage:severity"


class Watch(NamedTuple):
    """One CloudWatch alarm.

    Attributes:
        name: `<variant>-<alarm>`, with `-rollback` for the one that a deployment names.
        alarm: what was declared.
        variant: the variant that it watches; None: the endpoint as a whole.
        new_fleet: whether it sees the fleet that is being deployed alone.
    """

    name: str
    alarm: Alarm
    variant: Variant | None
    new_fleet: bool


def watches(spec: EndpointSpec) -> Iterator[Watch]:
    """Every metric alarm of the endpoint, one for each variant that it watches and each purpose that it serves."""
    variants = {variant.name: variant for variant in (*spec.variants, *([spec.shadow] if spec.shadow else []))}
    for alarm in spec.watched:
        for target in spec.targets(alarm):
            name = f"{target}-{alarm.name}"
            variant = variants.get(target)
            yield Watch(name, alarm, variant, new_fleet=False)
            if alarm.rolls_back and spec.policy is not None:
                yield Watch(f"{name}-{ROLLBACK}", alarm, variant, new_fleet=True)


def alarm_name(spec: EndpointSpec, watch: Watch) -> str:
    """The alarm's name in CloudWatch: known before anything exists."""
    return f"{spec.physical_name}-{watch.name}"


def alarm(
    spec: EndpointSpec, watch: Watch, *, config_name: Any, notify: Sequence[Any] = (), tags: Mapping[str, Any]
) -> Args:
    """aws.cloudwatch.MetricAlarm."""
    rule = watch.alarm
    bound = threshold(rule, watch.variant)
    args: Args = {
        "name": alarm_name(spec, watch),
        "alarm_description": _description(spec, watch, bound),
        "namespace": rule.namespace,
        "metric_name": rule.metric,
        "dimensions": _dimensions(spec, watch, config_name),
        "comparison_operator": "GreaterThanThreshold" if rule.above is not None else "LessThanThreshold",
        "threshold": bound,
        "period": 60,
        "evaluation_periods": rule.minutes,
        "datapoints_to_alarm": rule.minutes,
        "treat_missing_data": rule.missing,
        "tags": {**(spec.tags or {}), **tags, SEVERITY_TAG: rule.severity},
    }
    args["extended_statistic" if rule.statistic.startswith("p") else "statistic"] = rule.statistic
    return args | _actions(notify)


def threshold(rule: Alarm, variant: Variant | None) -> float:
    """The bound in the metric's unit: what adds up over cores or GPUs is multiplied by the instance's."""
    known = None if rule.published_by else metrics.METRICS.get(rule.metric)
    bound = rule.above if rule.above is not None else rule.below or 0.0
    if known is None or variant is None or variant.instance is None or rule.statistic == "SampleCount":
        return bound
    match known.adds_up_over:
        case "cores":
            return bound * metrics.cores(variant.instance)
        case "gpus":
            return bound * (metrics.gpus(variant.instance) or 1)
        case _:
            return bound


def _dimensions(spec: EndpointSpec, watch: Watch, config_name: Any) -> Args:
    if watch.alarm.dimensions is not None:
        return dict(watch.alarm.dimensions)
    found: Args = {"EndpointName": spec.physical_name}
    if watch.variant is not None:
        found["VariantName"] = watch.variant.name
    if watch.new_fleet:
        found["EndpointConfigName"] = config_name
    return found


def _actions(notify: Sequence[Any]) -> Args:
    return {"alarm_actions": list(notify), "ok_actions": list(notify)} if notify else {}


def _description(spec: EndpointSpec, watch: Watch, bound: float) -> str:
    """What it means, for the person who is woken by it; CloudWatch takes 1024 characters."""
    rule = watch.alarm
    side = f"{'above' if rule.above is not None else 'below'} {bound:.15g} for {rule.minutes} min"
    written = f" ({rule.written})" if rule.written else ""
    who = spec.physical_name if watch.variant is None else f"{watch.variant.name} of {spec.physical_name}"
    effect = "rolls a deployment back" if watch.new_fleet else rule.severity
    source = f"; published by {rule.published_by}" if rule.published_by else ""
    text = f"{effect}: {rule.statistic} of {rule.metric} of {who} {side}{written}{source}; {NO_DATA[rule.missing]}"
    return text[:1024]


def composite(spec: EndpointSpec, rule: Composite, *, notify: Sequence[Any] = (), tags: Mapping[str, Any]) -> Args:
    """aws.cloudwatch.CompositeAlarm, over the standing alarms; a part fires when it does for any variant."""
    standing = [watch for watch in watches(spec) if not watch.new_fleet]
    parts = []
    for part in rule.parts:
        names = [alarm_name(spec, watch) for watch in standing if watch.alarm.name == part]
        said = " OR ".join(f'ALARM("{name}")' for name in names)
        parts.append(f"({said})" if len(names) > 1 else said)
    how = "any" if rule.any_of else "all"
    return {
        "alarm_name": f"{spec.physical_name}-{rule.name}",
        "alarm_description": f"{rule.severity}: {how} of {', '.join(rule.parts)} of {spec.physical_name}",
        "alarm_rule": (" OR " if rule.any_of else " AND ").join(parts),
        "tags": {**(spec.tags or {}), **tags, SEVERITY_TAG: rule.severity},
    } | _actions(notify)
