"""Carrying autoscaling out: policies and schedules that moto keeps move the counts of live variants."""

import logging
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from infra.cloud.alarms import ALARM
from infra.cloud.hosting import Hosting
from infra.cloud.metrics import NAMESPACE
from infra.cloud.moto_app import Moto, Scalable
from infra.cloud.records import Endpoint, Variant
from infra.cloud.scaling import IN_POINTS, Past, Stepping, Tracking, bounded, due, step, track
from infra.cloud.series import Key
from infra.cloud.watch import Watch, key_of

MINUTE_S = 60.0
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_METRICS = {
    "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum"),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("ConcurrentRequestsPerModel", "Maximum"),
}
log = logging.getLogger(__name__)


class Autoscaler:
    """Looks once a declared minute. Endpoints that are being changed are left alone."""

    def __init__(self, hosting: Hosting, watch: Watch, moto: Moto) -> None:
        self._hosting = hosting
        self._watch = watch
        self._moto = moto
        self._past: dict[tuple[str, str, str], Past] = {}
        self._looked = datetime.now(UTC)

    def tick(self) -> None:
        """Scale what needs it."""
        now = datetime.now(UTC)
        for target in self._moto.scalables():
            self._apply_schedules(target, now)
            found = self._find(target)
            if found is not None:
                endpoint, variant = found
                wanted = self._wanted(target, endpoint, variant)
                if wanted != variant.count:
                    log.info("endpoint %s: %s from %d to %d", endpoint.name, variant.name, variant.count, wanted)
                    self._hosting.resize(endpoint, {}, {variant.name: wanted})
        self._looked = now

    def _find(self, target: Scalable) -> tuple[Endpoint, Variant] | None:
        named = _RESOURCE.fullmatch(target.resource)
        endpoint = self._hosting.store.endpoints.get((target.region, named[1])) if named else None
        if named is None or endpoint is None or endpoint.status != "InService" or endpoint.fleet is None:
            return None
        variant = endpoint.fleet.variants.get(named[2])
        return None if variant is None else (endpoint, variant)

    def _wanted(self, target: Scalable, endpoint: Endpoint, variant: Variant) -> int:
        """The largest count that a policy asks for; without one, the count within its bounds."""
        now = self._watch.clock.now()
        wanted = []
        for name, body in target.policies:
            policy, points = _tracking(body), list(self._points(body, endpoint, variant))
            if policy is None or not points:
                continue
            key = (target.region, target.resource, name)
            count, self._past[key] = track(
                policy, points, variant.count, target.lowest, target.highest, self._past.get(key, Past()), now
            )
            wanted.append(count)
        wanted += self._steps(target, variant, now)
        return max(wanted, default=bounded(variant.count, target.lowest, target.highest))

    def _steps(self, target: Scalable, variant: Variant, now: float) -> Iterator[int]:
        """What alarms in ALARM ask for, of which a step policy of this target is an action: period after period."""
        for arn, body in target.steps:
            for alarm in list(self._watch.alarms.values()):
                if alarm.state != ALARM or arn not in alarm.request.get("AlarmActions", ()):
                    continue
                period = self._watch.clock.real(alarm.period_s)
                points = [p for p in self._watch.points(alarm, time.time() // period * period) if p is not None]
                beyond = points[-1].value - float(alarm.request["Threshold"]) if points else 0.0
                key = (target.region, target.resource, arn)
                count, self._past[key] = step(
                    _stepping(body), beyond, variant.count, target.lowest, target.highest,
                    self._past.get(key, Past()), now,
                )  # fmt: skip
                if count != variant.count:
                    yield count

    def _points(self, body: dict[str, Any], endpoint: Endpoint, variant: Variant) -> Iterator[float | None]:
        kind = body.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType", "")
        custom = body.get("CustomizedMetricSpecification", {})
        if kind in _METRICS:
            name, statistic = _METRICS[kind]
            dimensions = (("EndpointName", endpoint.name), ("VariantName", variant.name))
            key = Key(endpoint.region, NAMESPACE, name, dimensions)
        elif "MetricName" in custom:
            key, statistic = key_of(endpoint.region, custom), custom.get("Statistic", "Average")
        else:
            return
        period = self._watch.clock.real(MINUTE_S)
        end = time.time() // period * period
        start = end - IN_POINTS * period
        cells = self._watch.store.periods(key, start, end, period)
        known = {round((at - start) / period): cell.statistic(statistic) for at, cell in cells.items()}
        yield from (known.get(number) for number in range(IN_POINTS))

    def _apply_schedules(self, target: Scalable, now: datetime) -> None:
        for action in target.schedules:
            made = datetime.fromtimestamp(action.creation_time, UTC)
            try:
                is_due = due(action.schedule, action.timezone, made, max(self._looked, made), now)
            except (ValueError, KeyError):
                log.exception("scheduled action %s", action.scheduled_action_name)
                continue
            if is_due:
                bounds = action.scalable_target_action or {}
                target.record.update(bounds.get("MinCapacity"), bounds.get("MaxCapacity"), None)
                log.info("scheduled action %s: %s", action.scheduled_action_name, bounds)


def _stepping(body: dict[str, Any]) -> Stepping:
    steps = tuple(
        (
            float(one.get("MetricIntervalLowerBound", -math.inf)),
            float(one.get("MetricIntervalUpperBound", math.inf)),
            int(one["ScalingAdjustment"]),
        )
        for one in body.get("StepAdjustments", ())
    )
    cooldown = float(body.get("Cooldown", 300))
    return Stepping(
        body.get("AdjustmentType", "ChangeInCapacity"), steps, cooldown, int(body.get("MinAdjustmentMagnitude", 0))
    )


def _tracking(body: dict[str, Any]) -> Tracking | None:
    target = float(body.get("TargetValue") or math.nan)
    if not target > 0:
        return None
    return Tracking(
        target=target,
        out_cooldown_s=float(body.get("ScaleOutCooldown", 300)),
        in_cooldown_s=float(body.get("ScaleInCooldown", 300)),
        scale_in=not body.get("DisableScaleIn", False),
    )
