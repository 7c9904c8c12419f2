"""Asynchronous inference: input and output in the embedded S3, word of it by SNS.

A queue of requests per endpoint is worked on by at most `MaxConcurrentInvocationsPerInstance` times the instances.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra.cloud.capture import now
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.moto_app import Moto

DEFAULT_CONCURRENT = 4  # where none is given, SageMaker chooses; a process on this machine is kept from being flooded
ID_HEADER, INPUT_HEADER = "X-Amzn-SageMaker-Inference-Id", "X-Amzn-SageMaker-InputLocation"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What an instance answered."""

    ok: bool
    body: bytes
    content_type: str


@dataclass(frozen=True)
class Job:
    """One asynchronous invocation. `ask` sends the body to an instance."""

    region: str
    endpoint: str
    inference_id: str
    source: str
    config: Mapping[str, Any]
    ask: Callable[[bytes], Awaitable[Outcome]]

    @property
    def output(self) -> str:
        """Where the answer goes."""
        return f"{self.config['OutputConfig']['S3OutputPath'].rstrip('/')}/{self.inference_id}.out"

    @property
    def failure(self) -> str:
        """Where an error goes; next to the answers unless a path is given."""
        place = self.config["OutputConfig"].get("S3FailurePath") or self.config["OutputConfig"]["S3OutputPath"]
        return f"{place.rstrip('/')}/{self.inference_id}-error.out"


class Later:
    """Works on asynchronous invocations behind the caller's back."""

    def __init__(self, moto: Moto) -> None:
        self._moto = moto
        self._limits: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, job: Job, instances: int) -> None:
        """Queue a job.

        Raises:
            AwsError: its input is no S3 address.
        """
        if not job.source.startswith("s3://"):
            raise AwsError("ValidationError", f"InputLocation must be an S3 URI, got {job.source!r}.")
        client = job.config.get("ClientConfig", {})
        each = client.get("MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENT)
        limit = self._limits.setdefault((job.region, job.endpoint), asyncio.Semaphore(each * max(1, instances)))
        task = asyncio.get_running_loop().create_task(self._work(job, limit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job, limit: asyncio.Semaphore) -> None:
        received = time.time()
        async with limit:
            outcome = await self._answer(job)
        place = job.output if outcome.ok else job.failure
        try:
            await asyncio.to_thread(self._store, place, outcome)
            await asyncio.to_thread(self._tell, job, outcome, place, received)
        except Exception:  # a missing bucket or topic costs the answer, as on AWS, and never the endpoint
            log.exception("asynchronous inference %s of %s", job.inference_id, job.endpoint)

    async def _answer(self, job: Job) -> Outcome:
        address = urlsplit(job.source)
        try:
            body = await asyncio.to_thread(self._moto.read_object, address.netloc, address.path.lstrip("/"))
            return await job.ask(body)
        except InstanceError as error:
            return Outcome(ok=False, body=f"cannot read the input: {error}".encode(), content_type="text/plain")
        except AwsError as error:
            return Outcome(ok=False, body=error.message.encode(), content_type="text/plain")

    def _store(self, place: str, outcome: Outcome) -> None:
        address = urlsplit(place)
        self._moto.write_object(address.netloc, address.path.lstrip("/"), outcome.body, outcome.content_type)

    def _tell(self, job: Job, outcome: Outcome, place: str, received: float) -> None:
        topics = job.config["OutputConfig"].get("NotificationConfig", {})
        topic = topics.get("SuccessTopic" if outcome.ok else "ErrorTopic")
        if not topic:
            return
        said: dict[str, Any] = {
            "awsRegion": job.region,
            "eventTime": f"{now():%Y-%m-%dT%H:%M:%S.000Z}",
            "receivedTime": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(received))}.000Z",
            "invocationStatus": "Completed" if outcome.ok else "Failed",
            "requestParameters": {"endpointName": job.endpoint, "inputLocation": job.source},
            "inferenceId": job.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        if outcome.ok:
            said["responseParameters"] = {"contentType": outcome.content_type, "outputLocation": place}
        else:
            said["failureLocation"] = place
            said["failureReason"] = outcome.body.decode(errors="replace")[:1024]
        self._moto.notify(job.region, topic, "InferenceResult", json.dumps(said))
