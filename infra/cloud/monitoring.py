"""Monitoring schedules, which moto lacks: SageMaker's calls, and the jobs that they start on the cloud's clock.

A period of the schedule passes as fast as every declared wait (`--time-scale`); it begins when the schedule is made,
not on the hour. A job's window is the period that has just ended, in this machine's time, which captured records carry.
"""

import asyncio
import contextlib
import functools
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moto.backends import get_backend

from infra.cloud.api import Api
from infra.cloud.capture import FLUSH_AFTER_S
from infra.cloud.errors import AwsError, InstanceError, invalid
from infra.cloud.hosting import Hosting
from infra.cloud.journal import Journal
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.pipelines import Pipelines
from infra.cloud.processes import Job, Processes, tail
from infra.cloud.records import arn
from infra.cloud.validation import validate
from infra.cloud.watch import Watch

Params = dict[str, Any]
Answer = dict[str, Any]
DOCUMENT = "monitoring"
HOUR_S = 3600.0
LOOK_S = 0.25
LATE_S = FLUSH_AFTER_S + 1.0
"""Capture writes behind the traffic's back: a job begins so much after its window ends."""
LEAST_LIMIT_S = 120.0
"""A job's time limit passes in declared time, but a process needs some of this machine's."""
MOST_EXECUTIONS = 100
OUTPUT = "processing/output"
_EVERY = re.compile(r"cron\(0 (?:\*|0/(\d{1,2})|0) \? \* \* \*\)")
_HOUR = re.compile(r"/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+$")
log = logging.getLogger(__name__)


@dataclass
class Execution:
    """One job of a schedule. Times are seconds since 1970."""

    scheduled: float
    start: float
    end: float
    status: str = "Pending"
    reason: str = ""
    changed: float = field(default_factory=time.time)
    output: str = ""


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


def every_hours(expression: str) -> int | None:
    """The period of a schedule; None for NOW.

    Raises:
        AwsError: not one of SageMaker's forms, or one that is not reproduced here.
    """
    if expression == "NOW":
        return None
    found = _EVERY.fullmatch(expression)
    if found is None:
        raise invalid(f"ScheduleExpression {expression!r} is none of cron(0 * ? * * *), cron(0 0/N ? * * *), NOW.")
    if found[1]:
        return int(found[1])
    return 1 if "*" in expression.partition("?")[0] else 24


class Monitoring:
    """Schedules and their jobs, and pipelines: their calls join hosting's, with what an earlier life had."""

    def __init__(self, api: Api, processes: Processes, hosting: Hosting, watch: Watch, journal: Journal) -> None:
        self._processes = processes
        self._hosting = hosting
        self._clock = watch.clock
        self.pipelines = Pipelines(processes, api.call)
        watch.heard.append(self.pipelines.on_alarm)
        self._journal = journal
        self.schedules: dict[tuple[str, str], Schedule] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.calls: dict[str, Callable[[str, Params], Answer]] = {
            "CreateMonitoringSchedule": self._create,
            "DescribeMonitoringSchedule": self._describe,
            "UpdateMonitoringSchedule": self._update,
            "DeleteMonitoringSchedule": self._delete,
            "ListMonitoringSchedules": self._list,
            "StartMonitoringSchedule": lambda region, params: self._switch(region, params, "Scheduled"),
            "StopMonitoringSchedule": lambda region, params: self._switch(region, params, "Stopped"),
            "ListMonitoringExecutions": self._executions,
        }
        for more in (self, self.pipelines):
            api.calls |= {name: functools.partial(more.call, name) for name in more.calls}
        api.tagged.append(self.tagged)
        self._restore()

    def _restore(self) -> None:
        """A job that was under way when the cloud ended has failed."""
        for one in self._journal.load(DOCUMENT) or ():
            executions = [Execution(**each) for each in one.pop("executions")]
            for execution in executions:
                if execution.status in ("Pending", "InProgress"):
                    execution.status, execution.reason = "Failed", "the embedded cloud ended meanwhile"
            made = Schedule(**one, executions=executions)
            made.due = time.time() + self._period(made)
            self.schedules[made.region, made.name] = made

    async def run(self) -> None:
        """Start jobs as they fall due, until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                for key, schedule in list(self.schedules.items()):
                    busy = key in self._running and not self._running[key].done()
                    if schedule.status == "Scheduled" and not busy and time.time() >= schedule.due + LATE_S:
                        self._running[key] = asyncio.create_task(self._execute(schedule))
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), self.pipelines.close(), return_exceptions=True)

    def _keep(self) -> None:
        self._journal.save(DOCUMENT, [asdict(one) for one in self.schedules.values()])

    def _period(self, schedule: Schedule) -> float:
        """In this machine's seconds."""
        hours = every_hours(schedule.config["ScheduleConfig"]["ScheduleExpression"]) or 1
        return self._clock.real(hours * HOUR_S)

    async def _execute(self, schedule: Schedule) -> None:
        period, end = self._period(schedule), schedule.due
        start = end - period
        # A slow job is not followed by a queue of others: the next one looks at all that has passed meanwhile.
        end += max(int((time.time() - LATE_S - end) // period), 0) * period
        execution = Execution(end, start, end, "InProgress")
        schedule.executions = [*schedule.executions, execution][-MOST_EXECUTIONS:]
        schedule.due = end + period
        try:
            await self._job(schedule, execution)
        except (InstanceError, OSError, KeyError) as error:
            execution.status, execution.reason = "Failed", str(error)[:1024]
        except asyncio.CancelledError:
            execution.status, execution.reason = "Failed", "the embedded cloud ended"
            raise
        finally:
            execution.changed = time.time()
        log.info("monitoring schedule %s: %s %s", schedule.name, execution.status, execution.reason)
        if schedule.config["ScheduleConfig"]["ScheduleExpression"] == "NOW":
            schedule.status = "Stopped"
        self._keep()

    async def _job(self, schedule: Schedule, execution: Execution) -> None:
        definition = self._definition(schedule)
        endpoint = definition.data_quality_job_input["EndpointInput"]["EndpointName"]
        source = self._capture_of(schedule.region, endpoint)
        stamp = datetime.fromtimestamp(execution.end, UTC)
        home = self._processes.options.home / "monitoring" / schedule.name
        folder = home / f"{stamp:%Y%m%dT%H%M%S}-{len(schedule.executions):03d}"
        local = folder / "processing/input/endpoint"
        keys = [key for key in await asyncio.to_thread(self._processes.keys, source) if _within(key, execution)]
        (local / endpoint).mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._processes.download, source, local / endpoint, keys)
        app = definition.data_quality_app_specification
        variables = {
            **app.get("Environment", {}),
            "dataset_format": '{"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}',
            "dataset_source": str(local),
            "output_path": str(folder / OUTPUT),
            "publish_cloudwatch_metrics": "Enabled",
            "sagemaker_endpoint_name": endpoint,
            "sagemaker_monitoring_schedule_name": schedule.name,
            "start_time": datetime.fromtimestamp(execution.start, UTC).isoformat(),
            "end_time": stamp.isoformat(),
        }
        limit = definition.stopping_condition.get("MaxRuntimeInSeconds", HOUR_S)
        job = Job(app["ImageUri"], ("train",), folder, variables, max(LEAST_LIMIT_S, self._clock.real(limit)))
        code = await self._processes.run(job)
        place = definition.data_quality_job_output_config["MonitoringOutputs"][0]["S3Output"]["S3Uri"].rstrip("/")
        execution.output = f"{place}/{endpoint}/{schedule.name}/{stamp:%Y/%m/%d/%H}/{stamp:%M%S}"
        await asyncio.to_thread(self._processes.upload, folder / OUTPUT, execution.output)
        await asyncio.to_thread(
            self._processes.keep_log, schedule.region, "ProcessingJobs", f"{schedule.name}-{folder.name}", folder
        )
        message = _text(folder / "output/message")
        if code:
            execution.status, execution.reason = "Failed", message or f"exit code {code}: {tail(folder)}"
        else:
            violated = message.startswith("CompletedWithViolations")
            execution.status = "CompletedWithViolations" if violated else "Completed"
            execution.reason = message.partition(": ")[2]

    def _definition(self, schedule: Schedule) -> Any:
        name = schedule.config["MonitoringJobDefinitionName"]
        found = get_backend("sagemaker")[ACCOUNT][schedule.region].data_quality_job_definitions.get(name)
        if found is None:
            raise InstanceError(f"job definition {name} does not exist any more")
        return found

    def _capture_of(self, region: str, name: str) -> str:
        endpoint = self._hosting.store.endpoints.get((region, name))
        if endpoint is None or endpoint.fleet is None:
            raise InstanceError(f"endpoint {name} does not exist: nothing is captured")
        config = endpoint.fleet.config.request.get("DataCaptureConfig")
        if not config:
            raise InstanceError(f"endpoint {name} captures nothing: DataCaptureConfig")
        return f"{config['DestinationS3Uri'].rstrip('/')}/{name}/"

    # -- SageMaker's calls -------------------------------------------------------------------------------------------

    def call(self, name: str, region: str, params: Params) -> Answer:
        """Answer an operation of `calls`.

        Raises:
            AwsError: as the service would.
        """
        validate(name, params)
        answer = self.calls[name](region, params)
        if not name.startswith(("Describe", "List")):
            self._keep()
        return answer

    def tagged(self, region: str, resource: str) -> dict[str, str] | None:
        """The tags of a schedule by its ARN; None for what is none."""
        found = next((one for one in self.schedules.values() if one.arn == resource and one.region == region), None)
        return None if found is None else found.tags

    def _find(self, region: str, params: Params) -> Schedule:
        name = params["MonitoringScheduleName"]
        found = self.schedules.get((region, name))
        if found is None:
            where = arn(region, "monitoring-schedule", name)
            raise AwsError("ResourceNotFound", f"Monitoring Schedule {where} does not exist.")
        return found

    def _create(self, region: str, params: Params) -> Answer:
        name, config = params["MonitoringScheduleName"], params["MonitoringScheduleConfig"]
        if (region, name) in self.schedules:
            raise AwsError("ResourceInUse", f"Monitoring Schedule {arn(region, 'monitoring-schedule', name)} exists.")
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        made = Schedule(region, name, _checked(config), tags)
        self._definition_exists(made)
        made.due = time.time() + (0.0 if _is_now(config) else self._period(made))
        self.schedules[region, name] = made
        return {"MonitoringScheduleArn": made.arn}

    def _definition_exists(self, schedule: Schedule) -> None:
        try:
            self._definition(schedule)
        except InstanceError as error:
            raise invalid(str(error)) from None

    def _update(self, region: str, params: Params) -> Answer:
        found = self._find(region, params)
        before = self._period(found)
        found.config, found.changed = _checked(params["MonitoringScheduleConfig"]), time.time()
        self._definition_exists(found)
        if self._period(found) != before:
            found.due = time.time() + self._period(found)
        return {"MonitoringScheduleArn": found.arn}

    def _delete(self, region: str, params: Params) -> Answer:
        found = self._find(region, params)
        task = self._running.pop((region, found.name), None)
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)
        del self.schedules[region, found.name]
        return {}

    def _switch(self, region: str, params: Params, status: str) -> Answer:
        found = self._find(region, params)
        if status == "Scheduled" and found.status != status:
            found.due = time.time() + self._period(found)
        found.status, found.changed = status, time.time()
        return {}

    def _describe(self, region: str, params: Params) -> Answer:
        found = self._find(region, params)
        last = [_summary(found, one) for one in found.executions[-1:]]
        with contextlib.suppress(InstanceError):
            inputs = self._definition(found).data_quality_job_input["EndpointInput"]
            return {**_told(found), "EndpointName": inputs["EndpointName"], **_last(last)}
        return {**_told(found), **_last(last)}

    def _list(self, region: str, params: Params) -> Answer:
        del params
        listed = [_told(one) for one in self.schedules.values() if one.region == region]
        for one in listed:
            one.pop("MonitoringScheduleConfig")
        return {"MonitoringScheduleSummaries": listed}

    def _executions(self, region: str, params: Params) -> Answer:
        name = params.get("MonitoringScheduleName")
        found = [
            _summary(one, each)
            for one in self.schedules.values()
            if one.region == region and name in (None, one.name)
            for each in one.executions
        ]
        return {"MonitoringExecutionSummaries": sorted(found, key=lambda each: -each["ScheduledTime"])}


def _is_now(config: Mapping[str, Any]) -> bool:
    return bool(config["ScheduleConfig"]["ScheduleExpression"] == "NOW")


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    if "MonitoringJobDefinitionName" not in config:
        raise invalid("MonitoringScheduleConfig: the embedded cloud takes a MonitoringJobDefinitionName.")
    if config.get("MonitoringType", "DataQuality") != "DataQuality":
        raise invalid(
            f"MonitoringType {config['MonitoringType']} is not reproduced by the embedded cloud: DataQuality."
        )
    every_hours(config.get("ScheduleConfig", {}).get("ScheduleExpression", ""))
    return config


def _within(key: str, execution: Execution) -> bool:
    """Whether a capture file's hour may have records of the window."""
    found = _HOUR.search(key)
    if found is None:
        return False
    year, month, day, hour = (int(part) for part in found.groups())
    at = datetime(year, month, day, hour, tzinfo=UTC)
    start, end = (datetime.fromtimestamp(moment, UTC) for moment in (execution.start, execution.end))
    return start - timedelta(hours=2) < at < end + timedelta(hours=1)


def _told(found: Schedule) -> Answer:
    return {
        "MonitoringScheduleArn": found.arn,
        "MonitoringScheduleName": found.name,
        "MonitoringScheduleStatus": found.status,
        "MonitoringType": "DataQuality",
        "CreationTime": found.made,
        "LastModifiedTime": found.changed,
        "MonitoringScheduleConfig": found.config,
    }


def _last(summaries: list[Answer]) -> Answer:
    return {"LastMonitoringExecutionSummary": summaries[0]} if summaries else {}


def _summary(schedule: Schedule, one: Execution) -> Answer:
    told: Answer = {
        "MonitoringScheduleName": schedule.name,
        "ScheduledTime": one.scheduled,
        "CreationTime": one.scheduled,
        "LastModifiedTime": one.changed,
        "MonitoringExecutionStatus": one.status,
        "MonitoringJobDefinitionName": schedule.config["MonitoringJobDefinitionName"],
        "MonitoringType": "DataQuality",
    }
    return {**told, "FailureReason": one.reason} if one.reason else told


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.exists() else ""
