"""The rollouts of a rehearsal: a healthy model is promoted, broken ones are taken back, and the traffic goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage import aws, drills, report, stackfile
from sagestage.deploy import Deployment
from sagestage.observing import Observer
from sagestage.progress import Stage, Stages
from sagestage.statistics import percentile

if TYPE_CHECKING:
    from infra.cloud.control import CloudInfo
    from sagestage.project import Project

TIME_SCALE = 120.0
"""A bake of ten minutes takes five seconds, and an alarm's minute half a second."""
PROMOTION, RETURN = "promotion", "return"


@dataclass(frozen=True)
class Act:
    """One rollout: what was rolled out, what came of it, and what a client saw meanwhile.

    Attributes:
        name: `promotion`, `return`, or the kind of broken model.
        says: what the model does.
        stopped: why `up` failed; empty when it did not.
        seen: the observations.
        versions: first 12 digits of the digests of the model before, and of the one rolled out.
        problems: what should not have been.
    """

    name: str
    says: str
    stopped: str
    seen: Observer
    versions: tuple[str, str]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What a program wants to know of it."""
        return {
            "name": self.name,
            "rolled_back": bool(self.stopped),
            "reason": self.stopped,
            "seconds": self.seen.seconds,
            "answers": len(self.seen.calls),
            "errors": sum(bool(call.error) for call in self.seen.calls),
            "p95_ms": percentile([call.milliseconds for call in self.seen.calls], 95),
            "alarms": sorted({name for look in self.seen.looks for name in look.in_alarm}),
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class Setting:
    """Where the rollouts take place: the champion's variant takes each model in turn."""

    project: Project
    cloud: CloudInfo
    endpoint: str
    values: Mapping[str, str]
    instances: Sequence[Any]


def play(setting: Setting, challenger: str, archive: Path, stages: Stages) -> list[Act]:
    """Promote the challenger, try each kind of broken model on top of it, and go back to what is declared.

    Args:
        setting: where.
        challenger: URI of the model to promote.
        archive: the champion's archive, to make the broken ones of.
        stages: shows each rollout.
    """
    declared = setting.values["champion"]
    acts = [_act(setting, PROMOTION, "the challenger takes the champion's place", declared, challenger, stages)]
    for kind in drills.KINDS:
        place, key = drills.broken(archive, kind, setting.project.artifacts)
        uri = aws.upload(setting.cloud, place, key)
        acts.append(_act(setting, kind.name, f"a model that {kind.says}", challenger, uri, stages, kind))
    acts.append(_act(setting, RETURN, "the declared champion is back", challenger, declared, stages))
    return acts


def _act(  # one rollout's facts
    setting: Setting, name: str, says: str, before: str, uri: str, stages: Stages, kind: drills.Kind | None = None
) -> Act:
    from infra.engine import EngineError

    runtime = aws.client(setting.cloud, "sagemaker-runtime")
    sagemaker, cloudwatch = aws.client(setting.cloud, "sagemaker"), aws.client(setting.cloud, "cloudwatch")
    stopped = ""
    with stages.stage(f"rollout {name}") as stage:
        stage.at(says)
        stackfile.write_local(setting.project.root, {**setting.values, "champion": uri})
        with Observer(runtime, sagemaker, cloudwatch, setting.endpoint, setting.instances) as seen:
            try:
                Deployment(setting.project, stackfile.LOCAL, report.follow(stage)).up()
            except EngineError as error:
                stopped = str(error)
        versions = (_version(before), _version(uri))
        act = Act(name, says, stopped, seen, versions, tuple(_problems(stopped, seen, versions, kind)))
        _sum_up(stage, act)
    return act


def _version(uri: str) -> str:
    return uri.rsplit("/", 2)[1][:12]


def _sum_up(stage: Stage, act: Act) -> None:
    lost = sum(bool(call.error) for call in act.seen.calls)
    answers = f"{len(act.seen.calls) - lost} answers, {lost} errors"
    outcome = "rolled back" if act.stopped else "done"
    stage.summary = "; ".join([f"{outcome}: {act.says}", answers, *act.problems])


def _problems(stopped: str, seen: Observer, versions: tuple[str, str], kind: drills.Kind | None) -> Iterator[str]:
    """What a rollout must keep to."""
    errors = [call for call in seen.calls if call.error]
    versions_seen = {call.version for call in seen.calls if call.version}
    if kind is None:
        if stopped:
            yield f"a healthy model was not promoted: {stopped}"
        if errors:
            yield f"{len(errors)} requests failed ({errors[0].error}) although no model was broken"
        return
    if not stopped:
        yield f"a model that {kind.says} was promoted: {kind.caught_by} did not stop it"
    if versions[0] not in versions_seen:
        yield "the old model did not answer all along"
    foreign = [call for call in errors if call.error != "ModelError"]
    if foreign or (errors and kind.name != "failing"):
        yield f"{len(foreign or errors)} requests failed ({(foreign or errors)[0].error}), none should have"
    if kind.fault is not None and not any(look.in_alarm for look in seen.looks) and "ALARM" not in stopped:
        yield "no alarm fired"
