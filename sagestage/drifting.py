"""`sagestage rehearse --drift`: traffic shifts, an alarm fires, a new model is trained and rolled out.

Then the stack takes it over, and the alarm recovers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage import aws, drift_picture, models, output, report, stackfile
from sagestage.deploy import Deployment
from sagestage.errors import GateError, SagestageError
from sagestage.progress import Stage, Stages
from sagestage.shifting import RATE, Callers, World, versions

if TYPE_CHECKING:
    from infra.cloud.control import CloudInfo
    from sagestage.project import Project

TIME_SCALE = 120.0
"""An hour of the schedule is half a minute."""
HOUR_S = 3600.0
PROGRAM, TRAIN_IMAGE, GATE = "watched", "sagestage-training:local", "r2>=0.8"
EPOCHS = 25
"""Enough for an R² of 0.9; the play is about what becomes of a model, not about the best one."""
LABELS, NEWEST = "labels", "newest"
LOOK_S = 0.5
ROWS_A_WINDOW = 360.0
"""So many at least are sent in an hour of the schedule: enough for a verdict, late ones aside."""
PATIENCE_HOURS = 6.0
"""Declared hours that one thing may take to happen, beside what a training takes."""
TRAINING_S = 420.0
NAMESPACE = "Sagestage/Model"
METRICS = ("RecordsRead", "FeatureDrift", "DriftedColumns", "PredictionDrift", "R2")
PICTURE, REPORT = "drift.svg", "drift-report.html"


@dataclass(frozen=True)
class Event:
    """Something that happened, seconds after the beginning."""

    at: float
    what: str


@dataclass
class Story:
    """The loop over time: seconds count from `began`.

    Attributes:
        points: of each metric, by its name.
        alarms: (seconds, names of the monitor's alarms in ALARM).
        shares: (seconds, share of the new model's answers).
        champion, successor: the first twelve digits of their digests.
    """

    began: float
    scale: float
    champion: str
    successor: str = ""
    events: list[Event] = field(default_factory=list)
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    alarms: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    callers: Callers | None = None
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def happened(self, what: str) -> None:
        """Write an event down."""
        self.events.append(Event(time.time() - self.began, what))

    def to_json(self) -> dict[str, Any]:
        """What a program wants to know of it."""
        calls = [] if self.callers is None else self.callers.calls
        return {
            "seconds": self.seconds,
            "time_scale": self.scale,
            "champion": self.champion,
            "successor": self.successor,
            "events": [{"at": round(one.at, 1), "what": one.what} for one in self.events],
            "metrics": self.points,
            "answers": len(calls),
            "errors": sum(bool(call.error) for call in calls),
            "problems": self.problems,
        }


class Play:
    """The rehearsal of the loop on a running cloud."""

    def __init__(self, project: Project, cloud: CloudInfo, story: Story) -> None:
        self._project, self._cloud, self.story = project, cloud, story
        self.sagemaker, self.cloudwatch = aws.client(cloud, "sagemaker"), aws.client(cloud, "cloudwatch")
        self.endpoint = self.schedule = self.pipeline = ""

    def look(self) -> None:
        """Take down the metrics' new points and the alarms' states."""
        from datetime import UTC, datetime

        story = self.story
        queries = [
            {"Id": name.lower(), "MetricStat": {"Metric": self._metric(name), "Period": 1, "Stat": "Maximum"}}
            for name in METRICS
        ]
        start, end = (datetime.fromtimestamp(moment, UTC) for moment in (story.began, time.time() + 1))
        found = self.cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=end)
        for name, result in zip(METRICS, found["MetricDataResults"], strict=True):
            pairs = zip(result["Timestamps"], result["Values"], strict=True)
            story.points[name] = sorted((at.timestamp() - story.began, value) for at, value in pairs)
        alarms = self.cloudwatch.describe_alarms(AlarmNamePrefix=f"{self.schedule}-", StateValue="ALARM")
        names = tuple(one["AlarmName"].removeprefix(f"{self.schedule}-") for one in alarms["MetricAlarms"])
        story.alarms.append((time.time() - story.began, names))

    def _metric(self, name: str) -> dict[str, Any]:
        dimensions = [{"Name": "EndpointName", "Value": self.endpoint}, {"Name": "VariantName", "Value": "champion"}]
        return {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": dimensions}

    def until(self, stage: Stage, what: str, holds: Callable[[], bool], patience_s: float) -> None:
        """Look on until something holds.

        Raises:
            SagestageError: it did not in time.
        """
        begun = time.monotonic()
        while True:
            self.look()
            if holds():
                return
            waited = time.monotonic() - begun
            if waited > patience_s:
                raise SagestageError(f"after {waited:.0f} s still not so: {what}{self._why()}")
            stage.at(what, min(waited / patience_s, 0.99))
            time.sleep(LOOK_S)

    def _why(self) -> str:
        """What went wrong last, of the schedule and of the pipeline."""
        said = []
        with suppress(Exception):
            last = self.sagemaker.describe_monitoring_schedule(MonitoringScheduleName=self.schedule)
            said.append(last.get("LastMonitoringExecutionSummary", {}).get("FailureReason", ""))
            said.append(self.execution().get("FailureReason", ""))
        return "".join(f"; {one}" for one in said if one)

    @property
    def patience_s(self) -> float:
        """How long a few periods of the schedule may take."""
        return PATIENCE_HOURS * HOUR_S / self._cloud.time_scale + 20.0

    def values(self, name: str, since: float = 0.0) -> list[float]:
        """The values of a metric after a moment of the story."""
        return [value for at, value in self.story.points.get(name, ()) if at >= since]

    def in_alarm(self, kind: str) -> bool:
        """Whether the champion's alarm of a kind is in ALARM."""
        return bool(self.story.alarms) and f"champion-{kind}" in self.story.alarms[-1][1]

    def execution(self) -> Mapping[str, Any]:
        """The newest execution of the retraining; empty when there is none."""
        found = self.sagemaker.list_pipeline_executions(PipelineName=self.pipeline)["PipelineExecutionSummaries"]
        if not found:
            return {}
        described: Mapping[str, Any] = self.sagemaker.describe_pipeline_execution(
            PipelineExecutionArn=found[0]["PipelineExecutionArn"]
        )
        return described


def rehearse(project: Project, *, seed: int, time_scale: float, down: bool, as_json: bool) -> None:
    """Play the loop and report, with a picture over time.

    Raises:
        GateError: the champion missed its gate.
        SagestageError: a part of the loop did not happen.
    """
    from infra.cloud import control
    from training import demo

    console = output.console(as_json=as_json)
    with Stages(console) as stages:
        path = demo.write(project.data / f"demand-{seed}.csv", seed=seed)
        learnt = {"target": demo.TARGET, "order": demo.ORDER, "epochs": EPOCHS}
        settings = {"seed": seed, "data": path, "name": "champion", **learnt}
        trained = models.train(project, [settings], (GATE,), stages)
        (champion,) = trained.models
        if not champion.passed:
            console.print(report.gate_table(trained.models))
            raise GateError(report.gate_sentence([champion]))
        world = World(path, champion.result.transform.history_rows)
        try:
            with stages.stage("cloud") as stage:
                cloud = control.start(project.cloud, time_scale=time_scale)
                stage.summary = f"{cloud.url}, an hour of the schedule is {HOUR_S / cloud.time_scale:g} s"
            story = Story(time.time(), cloud.time_scale, str(champion.result.sha256)[:12])
            play = Play(project, cloud, story)
            _deploy(project, play, cloud, champion, world, stages)
            runtime, s3 = aws.client(cloud, "sagemaker-runtime"), aws.client(cloud, "s3")
            labels = (aws.bucket_of(cloud), LABELS)
            rate = max(RATE, ROWS_A_WINDOW * cloud.time_scale / HOUR_S)
            try:
                with Callers(runtime, s3, play.endpoint, world, labels, rate) as callers:
                    story.callers = callers
                    _loop(project, play, cloud, callers, stages)
            finally:
                story.seconds = time.time() - story.began
                place = drift_picture.write(story, project.home / PICTURE)
            _reports(play, s3, project.home / REPORT)
        finally:
            if down:
                control.stop(project.cloud)
    if as_json:
        output.print_json(story.to_json() | {"picture": str(place)})
    else:
        console.print(drift_picture.table(story))
        console.print(f"picture {place}", highlight=False, soft_wrap=True)
        console.print(f"report of the drift {project.home / REPORT}", highlight=False, soft_wrap=True)
    if story.problems:
        raise SagestageError("; ".join(story.problems))


def _deploy(
    project: Project, play: Play, cloud: CloudInfo, champion: models.Model, world: World, stages: Stages
) -> None:
    with stages.stage("up") as stage:
        uri = aws.upload(cloud, *champion.kept)
        bucket = aws.bucket_of(cloud)
        aws.client(cloud, "s3").put_object(Bucket=bucket, Key=f"{NEWEST}/rows.csv", Body=world.newest())
        result = _up(project, cloud, uri, stage)
        play.endpoint, play.schedule = str(result.outputs["endpoint"]), str(result.outputs["schedule"])
        play.pipeline = str(result.outputs["retraining"])
        stage.summary = f"{report.change_sentence(result)}; endpoint {play.endpoint}, schedule {play.schedule}"
        play.story.began = time.time()


def _up(project: Project, cloud: CloudInfo, champion: str, stage: Stage) -> Any:
    """Deploy the program `watched` with this champion."""
    bucket = aws.bucket_of(cloud)
    values = {
        "url": cloud.url,
        "region": cloud.region,
        "image": stackfile.IMAGE,
        "champion": champion,
        "challenger": "",
        "program": PROGRAM,
        "trainImage": TRAIN_IMAGE,
        "labels": f"s3://{bucket}/{LABELS}",
        "newest": f"s3://{bucket}/{NEWEST}",
        "target": "demand",
        "order": "timestamp",
        "gate": GATE,
        "epochs": str(EPOCHS),
    }
    stackfile.write_local(project.root, values)
    return Deployment(project, stackfile.LOCAL, report.follow(stage)).up()


def _loop(project: Project, play: Play, cloud: CloudInfo, callers: Callers, stages: Stages) -> None:
    """The acts, each until what it is about has happened."""
    story = play.story

    def now() -> float:
        return time.time() - story.began

    with stages.stage("as trained") as stage:
        play.until(stage, "two windows of traffic as trained", lambda: len(play.values("R2")) > 1, play.patience_s)
        if any(play.values("DriftedColumns")) or play.in_alarm("drift"):
            story.problems.append("traffic like the training rows was said to drift")
        stage.summary = f"index {max(play.values('FeatureDrift')):.3f}, R² {play.values('R2')[-1]:.3f}, no alarm"
    callers.windy, shifted = True, now()
    story.happened("the traffic shifts")
    with stages.stage("shift") as stage:
        play.until(stage, "the drift alarm fires", lambda: play.in_alarm("drift"), play.patience_s)
        story.happened("the drift alarm fires")
        seen = play.values("FeatureDrift", shifted)
        stage.summary = f"index {max(seen):.2f}; the alarm fired after {now() - shifted:.0f} s"
    with stages.stage("retraining") as stage:
        begun = now()
        play.until(
            stage,
            "a new model is trained, gated and released",
            lambda: play.execution().get("PipelineExecutionStatus", "Executing") != "Executing",
            play.patience_s + TRAINING_S,
        )
        execution = play.execution()
        if execution["PipelineExecutionStatus"] != "Succeeded":
            raise SagestageError(f"the retraining failed: {execution.get('FailureReason', 'no reason is given')}")
        story.happened("a new model has passed its gate")
        stage.summary = f"trained on the newest data and released in {now() - begun:.0f} s"
    with stages.stage("rollout") as stage:
        begun = now()
        play.until(stage, "the canary takes the traffic", lambda: _settled(play), play.patience_s + 60.0)
        described = play.sagemaker.describe_endpoint(EndpointName=play.endpoint)
        uri = _artifact(play, described["EndpointConfigName"])
        story.successor = uri.rsplit("/", 2)[1][:12]
        if story.successor == story.champion:
            raise SagestageError(f"the new model was rolled back: {described.get('FailureReason', 'by an alarm')}")
        story.happened("the new model answers")
        stage.summary = f"{story.successor} answers after {now() - begun:.0f} s"
    with stages.stage("taken over") as stage:
        result = _up(project, cloud, uri, stage)
        story.happened("the stack has taken it over")
        stage.summary = report.change_sentence(result)
    with stages.stage("recovery") as stage:
        begun = now()
        play.until(
            stage,
            "the alarm recovers",
            lambda: not play.in_alarm("drift") and bool(play.values("R2", begun)),
            play.patience_s,
        )
        story.happened("the alarm recovers")
        stage.summary = f"index {play.values('FeatureDrift', begun)[-1]:.3f}, R² {play.values('R2', begun)[-1]:.3f}"
    failed = [call for call in callers.calls if call.error]
    if failed:
        story.problems.append(f"{len(failed)} requests failed: {failed[0].error}")
    if story.successor not in set(versions(callers.calls, story.began)):
        story.problems.append("the new model never answered")


def _settled(play: Play) -> bool:
    described = play.sagemaker.describe_endpoint(EndpointName=play.endpoint)
    return bool(described["EndpointStatus"] == "InService")


def _artifact(play: Play, config: str) -> str:
    """The archive that a configuration's first variant runs."""
    described = play.sagemaker.describe_endpoint_config(EndpointConfigName=config)
    model = play.sagemaker.describe_model(ModelName=described["ProductionVariants"][0]["ModelName"])
    return str(model["PrimaryContainer"]["ModelDataUrl"])


def _reports(play: Play, s3: Any, place: Path) -> None:
    """Keep the report of the window that drifted most, to look at."""
    executions = play.sagemaker.get_paginator("list_monitoring_executions").paginate(
        MonitoringScheduleName=play.schedule
    )
    drifted = [
        one
        for page in executions
        for one in page["MonitoringExecutionSummaries"]
        if one["MonitoringExecutionStatus"] == "CompletedWithViolations"
    ]
    if not drifted:
        play.story.problems.append("no window was reported to drift")
        return
    found = []
    for bucket in s3.list_buckets()["Buckets"]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"], Prefix="reports/")
        found += [(bucket["Name"], one["Key"]) for page in pages for one in page.get("Contents", [])]
    pages_found = sorted(one for one in found if one[1].endswith("report.html"))
    moments = [f"{one['ScheduledTime']:%M%S}" for one in drifted]
    hit = next((one for one in pages_found if one[1].split("/")[-2] in moments), pages_found[-1])
    place.write_bytes(s3.get_object(Bucket=hit[0], Key=hit[1])["Body"].read())
