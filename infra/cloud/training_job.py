"""A training job's record: what was asked for, where it stands, and how SageMaker describes it."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.cloud.capture import now
from infra.cloud.errors import AwsError, invalid
from infra.cloud.moto_app import seconds
from infra.cloud.records import arn

FAILURE_LENGTH = 1024  # botocore: FailureReason max
ENDED = frozenset({"Completed", "Failed", "Stopped"})
# Words of SecondaryStatusTransitions, as SageMaker puts them.
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Interrupted": "Training job interrupted: the spot capacity was taken back",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job waited longer than MaxWaitTimeInSeconds provided",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
}


@dataclass
class Job:
    """One training job. `begun` is when its first training began, `billable_s` what its machines ran."""

    name: str
    region: str
    request: dict[str, Any]
    tags: dict[str, str]
    status: str = "InProgress"
    secondary: str = ""
    transitions: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    artifact: str | None = None
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    created: datetime = field(default_factory=now)
    modified: datetime = field(default_factory=now)
    begun: datetime | None = None
    ended: datetime | None = None
    billable_s: float = 0.0
    interruptions: int = 0
    task: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    changed: Callable[[], None] = field(default=lambda: None)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return arn(self.region, "training-job", self.name)

    @property
    def image(self) -> str:
        """The training image."""
        return str(self.request["AlgorithmSpecification"].get("TrainingImage", ""))

    @property
    def hosts(self) -> list[str]:
        """The names of its machines."""
        count = self.request["ResourceConfig"].get("InstanceCount", 1)
        return [f"algo-{number}" for number in range(1, count + 1)]

    @property
    def spot(self) -> bool:
        """Whether its capacity may be taken back."""
        return bool(self.request.get("EnableManagedSpotTraining"))

    def become(self, secondary: str, *, status: str | None = None, message: str | None = None) -> None:
        """Enter a secondary status; with `status`, the job's own changes with it."""
        moment = now()
        if self.transitions and "EndTime" not in self.transitions[-1]:
            self.transitions[-1]["EndTime"] = seconds(moment)
        self.secondary, self.modified = secondary, moment
        text = message or _MESSAGES[secondary]
        self.transitions.append({"Status": secondary, "StartTime": seconds(moment), "StatusMessage": text})
        if secondary == "Training" and self.begun is None:
            self.begun = moment
        if status is not None:
            self.status = status
            if status in ENDED:
                self.ended = moment
                self.transitions[-1]["EndTime"] = seconds(moment)
        self.changed()

    def fail(self, reason: str) -> None:
        """End it as failed."""
        self.reason = reason[:FAILURE_LENGTH]
        self.become("Failed", status="Failed", message=self.reason)

    def describe(self) -> dict[str, Any]:
        """DescribeTrainingJob's answer."""
        answer: dict[str, Any] = {
            **{name: value for name, value in self.request.items() if name != "Tags"},
            "TrainingJobArn": self.arn,
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
            "SecondaryStatusTransitions": self.transitions,
            "CreationTime": seconds(self.created),
            "LastModifiedTime": seconds(self.modified),
            "FinalMetricDataList": [
                {"MetricName": name, "Value": value, "Timestamp": moment}
                for name, (value, moment) in self.metrics.items()
            ],
        }
        if self.artifact is not None:
            answer["ModelArtifacts"] = {"S3ModelArtifacts": self.artifact}
        if self.reason is not None:
            answer["FailureReason"] = self.reason
        if self.begun is not None:
            answer["TrainingStartTime"] = seconds(self.begun)
            if self.ended is not None:
                answer["TrainingEndTime"] = seconds(self.ended)
                answer["TrainingTimeInSeconds"] = max(1, round((self.ended - self.begun).total_seconds()))
                answer["BillableTimeInSeconds"] = max(1, round(self.billable_s))
        return answer

    def summary(self) -> dict[str, Any]:
        """An entry of ListTrainingJobs."""
        entry: dict[str, Any] = {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": seconds(self.created),
            "LastModifiedTime": seconds(self.modified),
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
        }
        return entry if self.ended is None else {**entry, "TrainingEndTime": seconds(self.ended)}


def check(request: Mapping[str, Any]) -> None:
    """What SageMaker refuses beyond its service model.

    Raises:
        AwsError: ValidationException, with the members that do not go together.
    """
    stop = request["StoppingCondition"]
    wait, run = stop.get("MaxWaitTimeInSeconds"), stop.get("MaxRuntimeInSeconds", 86_400)
    spot = request.get("EnableManagedSpotTraining", False)
    if not request["AlgorithmSpecification"].get("TrainingImage"):
        raise invalid("AlgorithmSpecification needs TrainingImage: the embedded cloud has no algorithms of its own.")
    if spot and wait is None:
        raise invalid("MaxWaitTimeInSeconds is required when EnableManagedSpotTraining is true.")
    if wait is not None and not spot:
        raise invalid("MaxWaitTimeInSeconds can only be given when EnableManagedSpotTraining is true.")
    if wait is not None and wait < run:
        raise invalid(f"MaxWaitTimeInSeconds ({wait}) must be greater than or equal to MaxRuntimeInSeconds ({run}).")
    if spot and request["ResourceConfig"].get("KeepAlivePeriodInSeconds"):
        raise invalid("KeepAlivePeriodInSeconds is not supported with managed spot training.")
    for definition in request["AlgorithmSpecification"].get("MetricDefinitions", ()):
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise invalid(f"Regex of metric {definition['Name']} is not valid: {error}.") from None
        if groups < 1:
            raise invalid(f"Regex of metric {definition['Name']} captures nothing: put the figure into brackets.")


def measured(line: str, definitions: list[tuple[str, re.Pattern[str]]]) -> Iterator[tuple[str, float]]:
    """The metrics that a line of the log tells."""
    for name, pattern in definitions:
        for match in pattern.finditer(line):
            try:
                yield name, float(match[1])
            except ValueError:
                continue  # what the definition's author let through and is no figure, as on SageMaker


def missing(name: str) -> AwsError:
    """No job has this name."""
    return invalid(f"Requested resource not found: training job {name}.")
