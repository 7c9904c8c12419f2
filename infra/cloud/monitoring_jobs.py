"""One job of a monitoring schedule: captured files in, the job's process, its report and its log out."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.backends import get_backend

from infra.cloud.clock import Clock
from infra.cloud.errors import InstanceError
from infra.cloud.hosting import Hosting
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.processes import Job, Processes, tail
from infra.cloud.schedules import Execution, Schedule

HOUR_S = 3600.0
LEAST_LIMIT_S = 120.0
"""A job's time limit passes in declared time, but a process needs some of this machine's."""
OUTPUT = "processing/output"


class MonitoringJobs:
    """Runs the jobs of every schedule."""

    def __init__(self, processes: Processes, hosting: Hosting, clock: Clock) -> None:
        self._processes, self._hosting, self._clock = processes, hosting, clock

    async def run(self, schedule: Schedule, execution: Execution) -> None:
        """Run a job over its window, from the captured files to the report; how it ended is noted in it.

        Raises:
            InstanceError: there is nothing to run, or it cannot be.
        """
        definition = self.definition(schedule)
        endpoint = definition.data_quality_job_input["EndpointInput"]["EndpointName"]
        source = self._capture_of(schedule.region, endpoint)
        stamp = datetime.fromtimestamp(execution.end, UTC)
        home = self._processes.options.home / "monitoring" / schedule.name
        folder = home / f"{stamp:%Y%m%dT%H%M%S}-{len(schedule.executions):03d}"
        local = folder / "processing/input/endpoint"
        keys = [key for key in await asyncio.to_thread(self._processes.keys, source) if execution.may_have(key)]
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
        await asyncio.to_thread(
            self._processes.keep_log, schedule.region, "ProcessingJobs", f"{schedule.name}-{folder.name}", folder
        )
        message = _text(folder / "output/message")
        if code:
            execution.end_as("Failed", message or f"exit code {code}: {tail(folder)}")
            return
        place = definition.data_quality_job_output_config["MonitoringOutputs"][0]["S3Output"]["S3Uri"].rstrip("/")
        execution.output = f"{place}/{endpoint}/{schedule.name}/{stamp:%Y/%m/%d/%H}/{stamp:%M%S}"
        await asyncio.to_thread(self._processes.upload, folder / OUTPUT, execution.output)
        violated = message.startswith("CompletedWithViolations")
        execution.end_as("CompletedWithViolations" if violated else "Completed", message.partition(": ")[2])

    def definition(self, schedule: Schedule) -> Any:
        """Its job definition, of moto.

        Raises:
            InstanceError: it is gone.
        """
        name = schedule.definition
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


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.exists() else ""
