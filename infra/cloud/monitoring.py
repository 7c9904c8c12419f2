"""Monitoring schedules, which moto lacks: SageMaker's calls, and the jobs that they start on the cloud's clock.

A period of the schedule passes as fast as every declared wait (`--time-scale`); it begins when the schedule is made,
not on the hour. A job's window is the period that has just ended, in this machine's time, which captured records carry.
"""

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from infra.cloud.api import Api
from infra.cloud.capture import FLUSH_AFTER_S
from infra.cloud.errors import AwsError, InstanceError, invalid
from infra.cloud.hosting import Hosting
from infra.cloud.journal import Journal
from infra.cloud.monitoring_jobs import HOUR_S, MonitoringJobs
from infra.cloud.pages import page
from infra.cloud.pipelines import Pipelines
from infra.cloud.processes import Processes
from infra.cloud.records import arn
from infra.cloud.schedules import NOW, Execution, Schedule, checked, every_hours, summary, told
from infra.cloud.validation import validate
from infra.cloud.watch import Watch

Params = dict[str, Any]
Answer = dict[str, Any]
DOCUMENT = "monitoring"
LOOK_S = 0.25
LATE_S = FLUSH_AFTER_S + 1.0
"""Capture writes behind the traffic's back: a job begins so much after its window ends."""
MOST_EXECUTIONS = 100
log = logging.getLogger(__name__)


class Monitoring:
    """Schedules and their jobs, and pipelines: their calls join hosting's, with what an earlier life had."""

    def __init__(self, api: Api, processes: Processes, hosting: Hosting, watch: Watch, journal: Journal) -> None:
        self._clock = watch.clock
        self._jobs = MonitoringJobs(processes, hosting, watch.clock)
        self.pipelines = Pipelines(processes, api.call, watch.clock)
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
            executions = [Execution(**{"name": one["name"], **each}) for each in one.pop("executions")]
            for execution in executions:
                if execution.status in ("Pending", "InProgress"):
                    execution.end_as("Failed", "the embedded cloud ended meanwhile")
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
        hours = every_hours(schedule.expression) or 1
        return self._clock.real(hours * HOUR_S)

    async def _execute(self, schedule: Schedule) -> None:
        period, end = self._period(schedule), schedule.due
        start = end - period
        # A slow job is not followed by a queue of others: the next one looks at all that has passed meanwhile.
        end += max(int((time.time() - LATE_S - end) // period), 0) * period
        execution = Execution(schedule.name, end, start, end, "InProgress")
        schedule.executions = [*schedule.executions, execution][-MOST_EXECUTIONS:]
        schedule.due = end + period
        try:
            await self._jobs.run(schedule, execution)
        except (InstanceError, OSError, KeyError) as error:
            execution.end_as("Failed", str(error)[:1024])
        except asyncio.CancelledError:
            execution.end_as("Failed", "the embedded cloud ended")
            raise
        log.info("monitoring schedule %s: %s %s", schedule.name, execution.status, execution.reason)
        if schedule.expression == NOW:
            schedule.status = "Stopped"
        self._keep()

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
        made = Schedule(region, name, checked(config), tags)
        self._definition_exists(made)
        made.due = time.time() + (0.0 if made.expression == NOW else self._period(made))
        self.schedules[region, name] = made
        return {"MonitoringScheduleArn": made.arn}

    def _definition_exists(self, schedule: Schedule) -> None:
        try:
            self._jobs.definition(schedule)
        except InstanceError as error:
            raise invalid(str(error)) from None

    def _update(self, region: str, params: Params) -> Answer:
        found = self._find(region, params)
        before, config = self._period(found), checked(params["MonitoringScheduleConfig"])
        self._definition_exists(replace(found, config=config))
        found.config, found.changed = config, time.time()
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
        last = [{"LastMonitoringExecutionSummary": summary(found, one)} for one in found.executions[-1:]]
        return {**told(found), **self._watched(found), **(last[0] if last else {})}

    def _watched(self, found: Schedule) -> Answer:
        """The endpoint that a schedule's job definition names, while it is there."""
        with contextlib.suppress(InstanceError):
            inputs = self._jobs.definition(found).data_quality_job_input["EndpointInput"]
            return {"EndpointName": inputs["EndpointName"]}
        return {}

    def _list(self, region: str, params: Params) -> Answer:
        wanted = {name: params[name] for name in ("EndpointName", "MonitoringJobDefinitionName") if name in params}
        found = [
            one
            for one in self.schedules.values()
            if one.region == region
            and params.get("StatusEquals") in (None, one.status)
            and wanted.items() <= {"MonitoringJobDefinitionName": one.definition, **self._watched(one)}.items()
        ]
        keys = {"Name": lambda one: one.name, "CreationTime": lambda one: one.made, "Status": lambda one: one.status}
        listed, more = page(found, params, keys)
        parts = [{**told(one), **self._watched(one), "MonitoringJobDefinitionName": one.definition} for one in listed]
        for one in parts:
            one.pop("MonitoringScheduleConfig")
        return {"MonitoringScheduleSummaries": parts, **more}

    def _executions(self, region: str, params: Params) -> Answer:
        wanted = params.get("MonitoringScheduleName")
        after, before = params.get("ScheduledTimeAfter", -math.inf), params.get("ScheduledTimeBefore", math.inf)
        every = [one for one in self.schedules.values() if one.region == region and wanted in (None, one.name)]
        found = [
            one
            for schedule in every
            for one in schedule.executions
            if params.get("StatusEquals") in (None, one.status)
            and after < one.scheduled < before
            and params.get("EndpointName") in (None, self._watched(schedule).get("EndpointName"))
        ]
        keys = {name: lambda one: one.scheduled for name in ("CreationTime", "ScheduledTime")}
        listed, more = page(found, params, {**keys, "Status": lambda one: one.status})
        return {
            "MonitoringExecutionSummaries": [summary(self.schedules[region, one.name], one) for one in listed],
            **more,
        }
