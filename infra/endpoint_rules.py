"""What kinds of hosting exclude, and which alarms could not fire on them."""

from collections.abc import Iterable, Iterator

from infra import limits, metrics
from infra.alarm_spec import Alarm
from infra.hosting_spec import Async
from infra.model_spec import ModelSpec
from infra.spec import Capture, Variant

Variants = tuple[Variant, ...]
_SOURCES = {"async": metrics.ASYNC_SOURCE, "serverless": metrics.SERVERLESS_SOURCE, "instance": metrics.SOURCE}


def hosting_of(variants: Variants, asynchronous: Async | None) -> metrics.Hosting:
    """What kind of hosting an endpoint is."""
    if asynchronous is not None:
        return "async"
    return "serverless" if any(variant.serverless for variant in variants) else "instance"


def hosting_problems(
    variants: Variants,
    shadow: Variant | None,
    asynchronous: Async | None,
    capture: Capture | None,
    kms_key: object,
) -> Iterator[str]:
    """Everything that the kinds of hosting do not take."""
    if any(variant.serverless for variant in variants):
        yield from _serverless(variants, shadow, asynchronous, capture, kms_key)
    if shadow is not None:
        yield from _shadow(variants, shadow, asynchronous)
    yield from _scaling(variants, asynchronous)
    if kms_key is not None:
        yield from _volumes([*variants, *([shadow] if shadow else [])])
    for variant in variants:
        yield from _model(variant, asynchronous)


def _model(variant: Variant, asynchronous: Async | None) -> Iterator[str]:
    """What a model is made of, and the hosting that does not take it."""
    spec = getattr(variant.model, "spec", None)
    if not isinstance(spec, ModelSpec):
        return
    if spec.multi_model and (variant.serverless or asynchronous is not None):
        kind = "serverless" if variant.serverless else "asynchronous"
        yield f"variant {variant.name!r} is {kind}, and its model is a multi-model one: only instances take those"
    if variant.serverless is None:
        return
    made_of = {
        "a VPC": spec.network is not None and spec.network.subnets,
        "network isolation": spec.network is not None and spec.network.isolated,
        "several containers": spec.containers,
    }
    for what, there in made_of.items():
        if there:
            yield (
                f"variant {variant.name!r} is serverless, and its model has {what}: serverless takes none"
                f" ({limits.SERVERLESS})"
            )


def _serverless(
    variants: Variants, shadow: Variant | None, asynchronous: Async | None, capture: Capture | None, kms_key: object
) -> Iterator[str]:
    refused = {
        "capture": capture,
        "shadow": shadow,
        "asynchronous": asynchronous,
        "kms_key (there are no volumes)": kms_key,
    }
    for what, value in refused.items():
        if value is not None:
            yield f"a serverless endpoint takes no {what} ({limits.SERVERLESS})"
    if len(variants) > 1:
        yield f"a serverless endpoint has one variant, got {len(variants)} ({limits.SERVERLESS})"


def _shadow(variants: Variants, shadow: Variant, asynchronous: Async | None) -> Iterator[str]:
    if len(variants) != 1:
        yield f"beside a shadow there is exactly one production variant, got {len(variants)} ({limits.SHADOW})"
    elif shadow.weight > variants[0].weight:
        most = f"{variants[0].weight:g}"
        yield f"the shadow's weight must be at most its variant's, {most}, got {shadow.weight:g}"
    if shadow.serverless is not None:
        yield f"a shadow runs on instances, got serverless ({limits.SHADOW})"
    if shadow.scaling is not None:
        yield f"a shadow keeps its number of instances: it has no invocations of its own to scale on ({limits.SHADOW})"
    if asynchronous is not None:
        yield f"shadow and asynchronous exclude each other ({limits.SHADOW})"
    for variant in (*variants, shadow):
        spec = getattr(variant.model, "spec", None)
        excluded = {
            "its model is a multi-model one": isinstance(spec, ModelSpec) and spec.multi_model,
            "its model has several containers": isinstance(spec, ModelSpec) and bool(spec.containers),
            f"it runs on {variant.instance}": variant.unguarded,
        }
        for why, there in excluded.items():
            if there:
                yield f"shadow tests exclude variant {variant.name!r}: {why} ({limits.SHADOW})"


def _scaling(variants: Variants, asynchronous: Async | None) -> Iterator[str]:
    for variant in variants:
        target = None if variant.scaling is None else variant.scaling.target
        if variant.scaling is not None and str(variant.instance).startswith(limits.NO_SCALING):
            yield f"variant {variant.name!r} scales, and {variant.instance} is burstable: it cannot ({limits.SCALING})"
        if asynchronous is None and target == "backlog_per_instance":
            yield (
                f"variant {variant.name!r} scales on backlog_per_instance, which only asynchronous endpoints have"
                f" ({metrics.ASYNC_SOURCE})"
            )
        if asynchronous is not None and target in {"invocations_per_minute", "concurrent_requests"}:
            yield (
                f"variant {variant.name!r} scales on {target}, which asynchronous endpoints do not publish:"
                f" use backlog_per_instance ({metrics.ASYNC_SOURCE})"
            )
        if asynchronous is not None and target == "backlog_per_instance" and len(variants) > 1:
            yield (
                f"variant {variant.name!r} scales on the backlog, which is the whole endpoint's:"
                f" one variant can follow it, got {len(variants)} ({metrics.ASYNC_SOURCE})"
            )


def _volumes(variants: Iterable[Variant]) -> Iterator[str]:
    for variant in variants:
        if variant.instance is not None and metrics.has_local_storage(variant.instance):
            yield (
                f"kms_key: {variant.instance} of variant {variant.name!r} has disks of its own, which its hardware"
                " encrypts: with a key SageMaker refuses it (SageMaker API, CreateEndpointConfig)"
            )


def alarm_problems(alarm: Alarm, variants: Iterable[Variant], hosting: metrics.Hosting) -> Iterator[str]:
    """Why an alarm could not fire on these variants."""
    known = None if alarm.published_by else metrics.METRICS.get(alarm.metric)
    if known is None:
        return
    if hosting not in known.hosting:
        kind = {"async": "asynchronous", "serverless": "serverless", "instance": "instance-based"}[hosting]
        yield f"alarm {alarm.name!r} could not fire: {kind} endpoints publish no {alarm.metric} ({_SOURCES[hosting]})"
        return
    if not known.by_variant and alarm.variant is not None:
        yield f"alarm {alarm.name!r} could not fire: {alarm.metric} has no VariantName, got variant={alarm.variant!r}"
    yield from _real_time(alarm, hosting)
    if known.adds_up_over == "gpus":
        yield from _gpus(alarm, variants)


def _real_time(alarm: Alarm, hosting: metrics.Hosting) -> Iterator[str]:
    limit = metrics.REAL_TIME_LATENCY_US
    single = alarm.metric == "ModelLatency" and alarm.statistic not in {"Sum", "SampleCount"}
    if single and hosting != "async" and alarm.above is not None and alarm.above >= limit:
        given = alarm.written or f"above={alarm.above:g}"
        most = f"{limit} microseconds"
        yield f"alarm {alarm.name!r} could not fire: ModelLatency is at most {most}, got {given} ({metrics.SOURCE})"


def _gpus(alarm: Alarm, variants: Iterable[Variant]) -> Iterator[str]:
    for variant in variants:
        number = metrics.gpus(str(variant.instance))
        if number == 0:
            yield (
                f"alarm {alarm.name!r} could not fire: {variant.instance} of variant {variant.name!r} has no GPU;"
                f" name another variant= ({metrics.SOURCE})"
            )
        elif number is None:
            yield (
                f"alarm {alarm.name!r}: the number of GPUs of {variant.instance} is not known to this version, and"
                f" {alarm.metric} adds up over them: use Alarm.custom with the sum as its bound"
            )
