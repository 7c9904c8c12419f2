"""SageMaker pipelines that run: their steps as processes, one after the other; and the alarms that start them.

moto keeps pipelines and rules; here are the executions. Steps of type Training and Processing are reproduced, with
references to the model that a training step made.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.backends import get_backend

from infra.cloud.clock import Clock
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.processes import Job, Processes, tail
from infra.cloud.validation import validate

Params = dict[str, Any]
Answer = dict[str, Any]
Call = Callable[[str, str, Params], Answer | None]
LOOK_S = 0.25
LEAST_LIMIT_S = 600.0
"""Time limits pass in this machine's time, and are not shortened below this."""
MOST_RUNTIME_S = 2_419_200
"""Of a training job: 28 days (CreateTrainingJob)."""
MOST_EXECUTIONS = 50
_PIPELINE = re.compile(r"arn:[^:]+:sagemaker:([^:]+):\d+:pipeline/(.+)")
log = logging.getLogger(__name__)


@dataclass
class Step:
    """One step of an execution. Times are seconds since 1970."""

    name: str
    kind: str
    status: str = "Starting"
    reason: str = ""
    started: float = field(default_factory=time.time)
    ended: float | None = None
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Execution:
    """A pipeline that was started."""

    region: str
    pipeline: str
    arn: str
    why: str
    status: str = "Executing"
    reason: str = ""
    started: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    steps: list[Step] = field(default_factory=list)


class Pipelines:
    """Executions of pipelines. `calls` join hosting's, in the place of moto's, which run nothing.

    `start` and `on_alarm` may be called from any thread; the steps run in the loop that this was made in.

    Args:
        processes: run the processing steps.
        call: hosting's calls, which training steps are made of.
        clock: the declared time, in which a training job's limit passes.
    """

    def __init__(self, processes: Processes, call: Call, clock: Clock) -> None:
        self._processes = processes
        self._call = call
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.executions: list[Execution] = []
        self.calls: dict[str, Callable[[str, Params], Answer]] = {
            "StartPipelineExecution": self._start,
            "DescribePipelineExecution": self._describe,
            "ListPipelineExecutions": self._list,
            "ListPipelineExecutionSteps": self._list_steps,
        }

    def call(self, name: str, region: str, params: Params) -> Answer:
        """Answer an operation of `calls`.

        Raises:
            AwsError: as the service would.
        """
        validate(name, params)
        return self.calls[name](region, params)

    async def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- EventBridge -------------------------------------------------------------------------------------------------

    def on_alarm(self, region: str, name: str, arn: str, states: tuple[str, str], reason: str) -> None:
        """Send CloudWatch's event of an alarm that went from one state to another to the rules of its region."""
        before, after = states
        event: Any = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "CloudWatch Alarm State Change",
            "source": "aws.cloudwatch",
            "account": ACCOUNT,
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": region,
            "resources": [arn],
            "detail": {
                "alarmName": name,
                "state": {"value": after, "reason": reason},
                "previousState": {"value": before},
            },
        }
        buses: Any = get_backend("events")[ACCOUNT][region]
        for rule in list(buses.event_buses["default"].rules.values()):
            if rule.state != "ENABLED" or not rule.event_pattern.get_pattern():
                continue
            if rule.event_pattern.matches_event(event):
                for target in rule.targets:
                    self._hit(target, f"alarm {name}")

    def _hit(self, target: Mapping[str, Any], why: str) -> None:
        found = _PIPELINE.fullmatch(target["Arn"])
        if found is None:
            log.warning("target %s is no pipeline: not reproduced", target["Arn"])
            return
        region, name = found.groups()
        if any(one.pipeline == name and one.status == "Executing" for one in self.executions):
            log.info("pipeline %s runs already: %s starts no other", name, why)
            return
        try:
            self.start(region, name, why)
        except AwsError as error:
            log.warning("%s: %s", why, error)

    # -- executions --------------------------------------------------------------------------------------------------

    def start(self, region: str, name: str, why: str) -> Execution:
        """Start a pipeline.

        Raises:
            AwsError: there is none of this name.
        """
        pipeline = get_backend("sagemaker")[ACCOUNT][region].pipelines.get(name)
        if pipeline is None:
            raise AwsError("ResourceNotFound", f"Pipeline {name} does not exist.")
        made = Execution(region, name, f"{pipeline.arn}/execution/{uuid.uuid4().hex[:12]}", why)
        definition = json.loads(pipeline.pipeline_definition)
        made.steps = [Step(one["Name"], one["Type"]) for one in definition["Steps"]]
        self.executions = [*self.executions, made][-MOST_EXECUTIONS:]
        self._loop.call_soon_threadsafe(self._begin, made, definition)
        return made

    def _begin(self, made: Execution, definition: Mapping[str, Any]) -> None:
        task = self._loop.create_task(self._run(made, definition))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, made: Execution, definition: Mapping[str, Any]) -> None:
        outputs: dict[str, str] = {}
        for step, declared in zip(made.steps, definition["Steps"], strict=True):
            step.status, step.started = "Executing", time.time()
            try:
                arguments = _resolved(declared["Arguments"], outputs)
                await self._kind(step)(made, step, arguments)
            except (InstanceError, OSError, KeyError, ValueError) as error:
                step.status, step.reason = "Failed", str(error)[:1024]
            except asyncio.CancelledError:
                step.status, made.status = "Stopped", "Stopped"
                raise
            step.ended = made.changed = time.time()
            outputs |= {f"Steps.{step.name}.{path}": value for path, value in step.outputs.items()}
            if step.status == "Failed":
                made.status, made.reason = "Failed", f"{step.name}: {step.reason}"
                break
            step.status = "Succeeded"
        else:
            made.status = "Succeeded"
        made.changed = time.time()
        log.info("pipeline %s (%s): %s %s", made.pipeline, made.why, made.status, made.reason)

    def _kind(self, step: Step) -> Callable[[Execution, Step, Params], Awaitable[None]]:
        kinds = {"Training": self._train, "Processing": self._process}
        if step.kind not in kinds:
            raise InstanceError(f"steps of type {step.kind} are not reproduced by the embedded cloud")
        return kinds[step.kind]

    def _folder(self, made: Execution, step: Step) -> tuple[str, Path]:
        job = f"pipelines-{made.arn.rpartition('/')[2]}-{step.name}"
        return job, self._processes.options.home / "pipelines" / job

    async def _train(self, made: Execution, step: Step, arguments: Params) -> None:
        """A training job of the embedded cloud's own; it is stopped with the pipeline."""
        name = self._folder(made, step)[0]
        limit = min(round(_limit(arguments) * self._clock.scale), MOST_RUNTIME_S)  # a job's own passes in declared time
        stop = {**arguments.get("StoppingCondition", {}), "MaxRuntimeInSeconds": limit}
        if "MaxWaitTimeInSeconds" in stop:
            stop["MaxWaitTimeInSeconds"] = max(stop["MaxWaitTimeInSeconds"], limit)
        self._call("CreateTrainingJob", made.region, {**arguments, "TrainingJobName": name, "StoppingCondition": stop})
        found: Answer = {}
        while found.get("TrainingJobStatus", "InProgress") in ("InProgress", "Stopping"):
            await asyncio.sleep(LOOK_S)
            found = self._call("DescribeTrainingJob", made.region, {"TrainingJobName": name}) or {}
        if found["TrainingJobStatus"] != "Completed":
            ended = f"the job was {found['TrainingJobStatus']}: {found.get('SecondaryStatus')}"
            raise InstanceError(found.get("FailureReason") or ended)
        step.outputs["ModelArtifacts.S3ModelArtifacts"] = found["ModelArtifacts"]["S3ModelArtifacts"]

    async def _process(self, made: Execution, step: Step, arguments: Params) -> None:
        job, folder = self._folder(made, step)
        app = arguments["AppSpecification"]
        words = tuple(app.get("ContainerArguments", ()))
        code = await self._processes.run(
            Job(app["ImageUri"], words, folder, arguments.get("Environment", {}), _limit(arguments))
        )
        await asyncio.to_thread(self._processes.keep_log, made.region, "ProcessingJobs", job, folder)
        if code:
            raise InstanceError(_text(folder / "output/message") or f"exit code {code}: {tail(folder)}")

    # -- SageMaker's calls -------------------------------------------------------------------------------------------

    def _start(self, region: str, params: Params) -> Answer:
        name = params["PipelineName"].rpartition("/")[2]
        return {"PipelineExecutionArn": self.start(region, name, "StartPipelineExecution").arn}

    def _find(self, params: Params) -> Execution:
        wanted = params["PipelineExecutionArn"]
        found = next((one for one in self.executions if one.arn == wanted), None)
        if found is None:
            raise AwsError("ResourceNotFound", f"Pipeline execution {wanted} does not exist.")
        return found

    def _describe(self, region: str, params: Params) -> Answer:
        del region
        found = self._find(params)
        told = {"PipelineArn": found.arn.rpartition("/execution/")[0], **_summary(found)}
        return {**told, "FailureReason": found.reason} if found.reason else told

    def _list(self, region: str, params: Params) -> Answer:
        name = params["PipelineName"].rpartition("/")[2]
        found = [one for one in self.executions if (one.region, one.pipeline) == (region, name)]
        return {"PipelineExecutionSummaries": [_summary(one) for one in reversed(found)]}

    def _list_steps(self, region: str, params: Params) -> Answer:
        del region
        return {"PipelineExecutionSteps": [_step(one) for one in reversed(self._find(params).steps)]}


def _summary(one: Execution) -> Answer:
    return {
        "PipelineExecutionArn": one.arn,
        "PipelineExecutionStatus": one.status,
        "PipelineExecutionDescription": one.why,
        **({"StartTime": one.started} if one.started else {}),
    }


def _step(one: Step) -> Answer:
    told: Answer = {"StepName": one.name, "StepStatus": one.status, "StartTime": one.started}
    if one.ended is not None:
        told["EndTime"] = one.ended
    return {**told, "FailureReason": one.reason} if one.reason else told


def _resolved(value: Any, outputs: Mapping[str, str]) -> Any:
    """A step's arguments with what earlier steps made in the place of references to it."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            if value["Get"] not in outputs:
                raise InstanceError(f"{value['Get']} is nothing that an earlier step made")
            return outputs[value["Get"]]
        return {name: _resolved(one, outputs) for name, one in value.items()}
    return [_resolved(one, outputs) for one in value] if isinstance(value, list) else value


def _limit(arguments: Params) -> float:
    return max(LEAST_LIMIT_S, float(arguments.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 0)))


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.exists() else ""
