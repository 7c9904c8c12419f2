"""Monitoring schedules as values: what they are asked to be, the jobs that they have started, and how both are told."""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.cloud.errors import invalid
from infra.cloud.records import arn

Answer = dict[str, Any]
NOW = "NOW"
_EVERY = re.compile(r"cron\(0 (?:\*|0/(\d{1,2})|0) \? \* \* \*\)")
_HOUR = re.compile(r"/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+$")


@dataclass
class Execution:
    """One job of a schedule, whose name it has. Times are seconds since 1970."""

    name: str
    scheduled: float
    start: float
    end: float
    status: str = "Pending"
    reason: str = ""
    changed: float = field(default_factory=time.time)
    output: str = ""

    @property
    def created(self) -> datetime:
        """When it was due."""
        return datetime.fromtimestamp(self.scheduled, UTC)

    @property
    def modified(self) -> datetime:
        """When something of it changed last."""
        return datetime.fromtimestamp(self.changed, UTC)

    def end_as(self, status: str, reason: str) -> None:
        """Note how it ended."""
        self.status, self.reason, self.changed = status, reason, time.time()

    def may_have(self, key: str) -> bool:
        """Whether a capture file's hour may have records of its window."""
        found = _HOUR.search(key)
        if found is None:
            return False
        year, month, day, hour = (int(part) for part in found.groups())
        at = datetime(year, month, day, hour, tzinfo=UTC)
        start, end = (datetime.fromtimestamp(moment, UTC) for moment in (self.start, self.end))
        return start - timedelta(hours=2) < at < end + timedelta(hours=1)


@dataclass
class Schedule:
    """A monitoring schedule."""

    region: str
    name: str
    config: dict[str, Any]
    tags: dict[str, str]
    made: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    status: str = "Scheduled"
    due: float = 0.0
    executions: list[Execution] = field(default_factory=list)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return arn(self.region, "monitoring-schedule", self.name)

    @property
    def definition(self) -> str:
        """The name of its job definition."""
        return str(self.config["MonitoringJobDefinitionName"])

    @property
    def expression(self) -> str:
        """When it runs, in SageMaker's words."""
        return str(self.config["ScheduleConfig"]["ScheduleExpression"])

    @property
    def created(self) -> datetime:
        """When it was made."""
        return datetime.fromtimestamp(self.made, UTC)

    @property
    def modified(self) -> datetime:
        """When it was changed last."""
        return datetime.fromtimestamp(self.changed, UTC)


def every_hours(expression: str) -> int | None:
    """The period of a schedule; None for NOW.

    Raises:
        AwsError: not one of SageMaker's forms, or one that is not reproduced here.
    """
    if expression == NOW:
        return None
    found = _EVERY.fullmatch(expression)
    if found is None:
        raise invalid(f"ScheduleExpression {expression!r} is none of cron(0 * ? * * *), cron(0 0/N ? * * *), NOW.")
    if found[1]:
        return int(found[1])
    return 1 if "*" in expression.partition("?")[0] else 24


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """A schedule's configuration.

    Raises:
        AwsError: it has a form that is not reproduced here.
    """
    if "MonitoringJobDefinitionName" not in config:
        raise invalid("MonitoringScheduleConfig: the embedded cloud takes a MonitoringJobDefinitionName.")
    if config.get("MonitoringType", "DataQuality") != "DataQuality":
        raise invalid(
            f"MonitoringType {config['MonitoringType']} is not reproduced by the embedded cloud: DataQuality."
        )
    every_hours(config.get("ScheduleConfig", {}).get("ScheduleExpression", ""))
    return config


def told(found: Schedule) -> Answer:
    """As DescribeMonitoringSchedule tells it, without its endpoint and its last job."""
    return {
        "MonitoringScheduleArn": found.arn,
        "MonitoringScheduleName": found.name,
        "MonitoringScheduleStatus": found.status,
        "MonitoringType": "DataQuality",
        "CreationTime": found.made,
        "LastModifiedTime": found.changed,
        "MonitoringScheduleConfig": found.config,
    }


def summary(schedule: Schedule, one: Execution) -> Answer:
    """As ListMonitoringExecutions tells a job."""
    said: Answer = {
        "MonitoringScheduleName": schedule.name,
        "ScheduledTime": one.scheduled,
        "CreationTime": one.scheduled,
        "LastModifiedTime": one.changed,
        "MonitoringExecutionStatus": one.status,
        "MonitoringJobDefinitionName": schedule.definition,
        "MonitoringType": "DataQuality",
    }
    return {**said, "FailureReason": one.reason} if one.reason else said
