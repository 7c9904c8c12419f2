"""What is watched of a model in production, as values; and why an alarm that does not fit its schedule is refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from dataclasses import field as default_of
from typing import Annotated, Any, Literal

from infra import limits
from infra.hosting_spec import key_problems
from infra.limits import Bound, Number, OneOf, Text
from infra.model_spec import Network
from infra.names import artifact_problems, tag_problems
from infra.values import FROZEN, spec, within

MONITORING = "SageMaker, scheduling monitoring jobs"
EVERY_HOURS = (1, 2, 3, 4, 6, 8, 12, 24)
"""So that the hours of a schedule are the same every day; SageMaker's schedules are hourly at most."""
WEEK_MINUTES = 7 * 24 * 60
"""CloudWatch looks back a week at most with periods of an hour and more (PutMetricAlarm)."""
NAME = Text("MonitoringScheduleName")
INSTANCE = OneOf("ProcessingInstanceType")
TRAINING_INSTANCE = OneOf("TrainingInstanceType")
VOLUME_GB = Number("ProcessingVolumeSizeInGB")
JOB_MINUTES = Number(at_least=Bound(1, MONITORING), at_most=Bound(1440, MONITORING))
PERCENT = Number(at_least=Bound(1, "a percentage"), at_most=Bound(99, "an alarm that can fire"))
POSITIVE = Number(at_least=Bound(0, "an index is never negative"))
Trigger = Literal["drift", "quality"]


def fit_problem(field: str, minutes: int, every_hours: int) -> str | None:
    """Why an alarm over so many minutes could not be judged by values that come every so many hours."""
    period = every_hours * 60
    if minutes > period and minutes % period:
        return (
            f"{field} must be at most the schedule's period of {period} minutes or a multiple of it, got {minutes}:"
            " a value comes once a period"
        )
    if minutes > WEEK_MINUTES:
        return f"{field} must be at most {WEEK_MINUTES}, a week, got {minutes} ({limits.CLOUDWATCH})"
    return None


def evaluations(minutes: int, every_hours: int) -> int:
    """How many values of a schedule an alarm over so many minutes looks at; one at least."""
    return max(1, minutes // (every_hours * 60))


def _bounds(accuracy_below: float | None, r2_below: float | None) -> Iterator[str]:
    if (accuracy_below is None) == (r2_below is None):
        yield (
            "it needs either accuracy_below (a classification) or r2_below (a regression), got"
            f" accuracy_below={accuracy_below!r} and r2_below={r2_below!r}"
        )
    if accuracy_below is not None and not 0 < accuracy_below <= 1:
        yield f"accuracy_below must be above 0 and at most 1, got {accuracy_below}: it could not fire or recover"
    if r2_below is not None and r2_below > 1:
        yield f"r2_below must be at most 1, got {r2_below}: it could not recover"


def _labels(ground_truth: Any) -> Iterator[str]:
    if isinstance(ground_truth, str) and not ground_truth.startswith("s3://"):
        yield f"ground_truth must be s3://<bucket>/<prefix>, got {ground_truth!r}"


@spec(_bounds, _labels)
class Quality:
    """How good the model is, by labels that are joined to captured records by InferenceId.

    Attributes:
        ground_truth: `s3://<bucket>/<prefix>` of JSON Lines: `{"inferenceId": …, "label": …}`, or SageMaker's form.
        accuracy_below: of a classification: a critical alarm fires below this.
        r2_below: of a regression, instead.
        minutes: for how long on end.
        labels_after_hours: labels come so late: the records judged are so much older than the window.
        segment: an input column by whose values the report tells quality apart.
    """

    ground_truth: Any
    _: KW_ONLY
    accuracy_below: float | None = None
    r2_below: float | None = None
    minutes: Annotated[int, within(limits.ALARM_MINUTES)] = 15
    labels_after_hours: Annotated[int, within(Number(at_least=Bound(0, "labels are not there before")))] = 0
    segment: str | None = None


def _newest(data: Any, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(data, str) and not data.startswith("s3://"):
        yield f"data must be s3://<bucket>/<prefix>, got {data!r}"
    if "target" not in hyperparameters:
        yield "hyperparameters must have a target: the column to predict"
    for name in ("champion", "data", "output"):
        if name in hyperparameters:
            yield f"hyperparameters: {name} is given by the retraining itself, got {hyperparameters[name]!r}"


@spec(_newest)
class Retraining:
    """The training job again on the newest data, started by an alarm; the gate against the champion decides.

    Attributes:
        data: `s3://<bucket>/<prefix>` of the newest data.
        group: a Registry, or the name of a model package group.
        hyperparameters: the training job's settings: target, order, gates …; the champion is added.
        on: the alarms that start it: drift, quality.
        rollout: approval: the new version waits in the group until somebody approves it; canary: it is approved and
            takes the variant's place in the way that the endpoint was last deployed, under its rollback alarms.
        variant: whose model is trained again; None: the first.
        instance: what trains.
        max_minutes: how long it may take.
    """

    data: Any
    group: Any
    _: KW_ONLY
    hyperparameters: Mapping[str, Any]
    on: Annotated[Sequence[Trigger], FROZEN] = ("drift",)
    rollout: Literal["approval", "canary"] = "approval"
    variant: str | None = None
    instance: Annotated[str, within(TRAINING_INSTANCE)] = "ml.m5.xlarge"
    max_minutes: Annotated[int, within(JOB_MINUTES)] = 120

    @property
    def group_name(self) -> Any:
        """The group's name."""
        return getattr(self.group, "group_name", self.group)


def _named(physical_name: str) -> Iterator[str]:
    if (problem := NAME.problem(physical_name)) is not None:
        yield f"the physical name {problem}"


def _watched(endpoint_name: str, artifacts: Mapping[str, Any], capture_percent: int | None) -> Iterator[str]:
    if capture_percent is None:
        yield f"{endpoint_name} captures nothing: give the endpoint capture=Capture(…)"
    elif capture_percent == 0:
        yield f"{endpoint_name} captures 0 % of its traffic: a monitor would never read a record"
    if not artifacts:
        yield f"{endpoint_name} has no variant whose model carries an artifact: there is no baseline to compare with"
    for name, artifact in artifacts.items():
        if isinstance(artifact, str):
            yield from (f"variant {name!r}: {problem}" for problem in artifact_problems(artifact))


def _fits(every_hours: int, drift_minutes: int, silent_minutes: int | None, max_minutes: int) -> Iterator[str]:
    if every_hours not in EVERY_HOURS:
        yield f"every_hours must be one of {', '.join(map(str, EVERY_HOURS))}, got {every_hours} ({MONITORING})"
        return
    period = every_hours * 60
    if (problem := fit_problem("drift_minutes", drift_minutes, every_hours)) is not None:
        yield problem
    if silent_minutes is not None:
        if silent_minutes < 2 * period:
            yield (
                f"silent_minutes must be at least two periods of the schedule, {2 * period}, got {silent_minutes}:"
                " a single job that comes late would be an alarm"
            )
        elif (problem := fit_problem("silent_minutes", silent_minutes, every_hours)) is not None:
            yield problem
    if max_minutes > period:
        yield f"max_minutes must be at most the schedule's period, {period}, got {max_minutes} ({MONITORING})"


def _judged(every_hours: int, quality: Quality | None, keep_days: int | None) -> Iterator[str]:
    if quality is None:
        return
    if (
        every_hours in EVERY_HOURS
        and (problem := fit_problem("quality: minutes", quality.minutes, every_hours)) is not None
    ):
        yield problem
    if keep_days is not None and quality.labels_after_hours + every_hours > keep_days * 24:
        yield (
            f"quality: labels_after_hours is {quality.labels_after_hours}, and captured records are kept for"
            f" {keep_days} days: they would be gone"
        )


def _again(artifacts: Mapping[str, Any], quality: Quality | None, retraining: Retraining | None) -> Iterator[str]:
    if retraining is None:
        return
    if retraining.variant is not None and retraining.variant not in artifacts:
        yield f"retraining: there is no variant {retraining.variant!r}, only {', '.join(artifacts)}"
    if "quality" in retraining.on and quality is None:
        yield "retraining: on quality could never start it: the monitor has no quality="
    if not retraining.on:
        yield "retraining: on is empty: nothing would start it"


def _keys(kms_key: Any, tags: Mapping[str, Any] | None) -> Iterator[str]:
    yield from key_problems("kms_key", kms_key)
    yield from tag_problems(tags or {})


@spec(_named, _watched, _fits, _judged, _again, _keys)
class MonitorSpec:
    """A monitor. `artifacts` are archives by variant, `capture_percent` and `keep_days` the endpoint's capture's."""

    name: str
    physical_name: str
    endpoint_name: str
    _: KW_ONLY
    image: Any
    artifacts: Mapping[str, Any] = default_of(default_factory=dict)
    capture_percent: int | None = None
    keep_days: int | None = None
    every_hours: int = 1
    drift_above: Annotated[float, within(POSITIVE)] = 0.3
    drift_minutes: Annotated[int, within(limits.ALARM_MINUTES)] = 10
    silent_minutes: int | None = 120
    disk_above_percent: Annotated[float, within(PERCENT)] = 75
    quality: Quality | None = None
    retraining: Retraining | None = None
    instance: Annotated[str, within(INSTANCE)] = "ml.m5.large"
    volume_gb: Annotated[int, within(VOLUME_GB)] = 30
    max_minutes: Annotated[int, within(JOB_MINUTES)] = 50
    keep_reports_days: Annotated[int, within(limits.KEEP_DAYS)] = 90
    network: Network | None = None
    kms_key: Any = None
    notify: tuple[Any, ...] = ()
    tags: Mapping[str, Any] | None = None

    @property
    def cron(self) -> str:
        """The schedule in SageMaker's words."""
        if self.every_hours == 1:
            return "cron(0 * ? * * *)"
        return "cron(0 0 ? * * *)" if self.every_hours == 24 else f"cron(0 0/{self.every_hours} ? * * *)"

    @property
    def period_s(self) -> int:
        """The schedule's period."""
        return self.every_hours * 3600

    @property
    def retrained(self) -> str:
        """The variant whose model is trained again."""
        chosen = None if self.retraining is None else self.retraining.variant
        return chosen or next(iter(self.artifacts))
