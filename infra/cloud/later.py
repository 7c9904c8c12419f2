"""Asynchronous inference: input and output in the embedded S3, word of it by SNS.

A queue of requests per endpoint is worked on by at most `MaxConcurrentInvocationsPerInstance` times the instances that
there are: with none, requests wait until there is one, or until their time to live is over.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from infra.cloud.clock import Clock
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.jobs import Job, Outcome, message
from infra.cloud.metrics import Metrics
from infra.cloud.moto_app import Moto

_LOOK_EVERY_S = 0.2  # for instances that have come, and requests whose time is over
Capacity = Callable[[str, str], tuple[int, int, str]]
log = logging.getLogger(__name__)


class Queue:
    """The requests of one endpoint: those that wait, and how many are worked on."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.working: dict[Job, None] = {}
        self.stirred = asyncio.Event()
        self.keeper: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Of both."""
        return len(self.waiting) + len(self.working)

    def oldest(self) -> float | None:
        """When the oldest of them came, seconds since 1970."""
        return min((job.received for job in (*self.waiting, *self.working)), default=None)


class Later:
    """Works on asynchronous invocations behind the caller's back.

    Args:
        moto: S3 and SNS.
        metrics: where it is counted.
        clock: times to live are declared seconds.
        capacity: (region, endpoint) -> (healthy instances, declared instances, the variant they are counted under).
    """

    def __init__(self, moto: Moto, metrics: Metrics, clock: Clock, capacity: Capacity) -> None:
        self._moto = moto
        self._metrics = metrics
        self._clock = clock
        self._capacity = capacity
        self._queues: dict[tuple[str, str], Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, job: Job) -> None:
        """Queue a job."""
        queue = self._queues.setdefault((job.region, job.endpoint), Queue())
        queue.waiting.append(job)
        queue.stirred.set()
        if queue.keeper is None or queue.keeper.done():
            queue.keeper = asyncio.get_running_loop().create_task(self._keep(job.region, job.endpoint, queue))

    def measure(self, endpoints: Iterable[tuple[str, str]]) -> None:
        """Publish the backlog of asynchronous endpoints (region, name), once a declared minute."""
        for key in endpoints:
            self._queues.setdefault(key, Queue())
        for (region, endpoint), queue in list(self._queues.items()):
            healthy, declared, _ = self._capacity(region, endpoint)
            if declared < 0:  # the endpoint is gone
                if not queue.size:
                    del self._queues[region, endpoint]
                continue
            oldest = queue.oldest()
            age_s = 0.0 if oldest is None else (time.time() - oldest) * self._clock.scale
            figures = {
                "ApproximateBacklogSize": float(queue.size),
                "HasBacklogWithoutCapacity": float(queue.size > 0 and healthy == 0),
                "ApproximateAgeOfOldestRequest": age_s,
            }
            if declared:
                figures["ApproximateBacklogSizePerInstance"] = queue.size / declared
            for name, value in figures.items():
                self._metrics.put(region, endpoint, "", name, value)

    async def _keep(self, region: str, endpoint: str, queue: Queue) -> None:
        """Start what can be started, as long as something waits."""
        while queue.waiting:
            queue.stirred.clear()
            now = time.time()
            for job in [one for one in queue.waiting if one.until <= now]:
                queue.waiting.remove(job)
                self._count(job, "ExpiredRequests")
                text = "The request reached its time to live (RequestTTLSeconds) in the queue."
                self._begin(self._finish(job, Outcome(ok=False, body=text.encode(), content_type="text/plain")))
            healthy, declared, _ = self._capacity(region, endpoint)
            if declared < 0:
                log.warning("%d asynchronous requests of %s are lost: the endpoint is gone", queue.size, endpoint)
                queue.waiting.clear()
            while queue.waiting and len(queue.working) < healthy * queue.waiting[0].concurrent:
                job = queue.waiting.popleft()
                queue.working[job] = None
                self._begin(self._work(job, queue))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await queue.stirred.wait()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job, queue: Queue) -> None:
        try:
            self._count(job, "TimeInBacklog", (time.time() - job.received) * 1e6)
            await self._finish(job, await self._answer(job))
        finally:
            del queue.working[job]
            queue.stirred.set()

    async def _answer(self, job: Job) -> Outcome:
        try:
            with self._timed(job, "RequestDownloadLatency"):
                body = job.body if job.body is not None else await asyncio.to_thread(self._moto.read_object, *job.place)
        except InstanceError as error:
            self._count(job, "RequestDownloadFailures")
            return Outcome(ok=False, body=f"cannot read the input: {error}".encode(), content_type="text/plain")
        try:
            return await job.ask(body, job.timeout_s)
        except AwsError as error:
            return Outcome(ok=False, body=error.message.encode(), content_type="text/plain")

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Store an answer and tell of it; a missing bucket or topic costs that, as on AWS, and never the endpoint."""
        place = job.output if outcome.ok else job.failure
        self._count(job, "InvocationsProcessed")
        if not outcome.ok:
            self._count(job, "InvocationFailures")
        try:
            with self._timed(job, "ResponseUploadLatency"):
                bucket, _, key = place.removeprefix("s3://").partition("/")
                await asyncio.to_thread(self._moto.write_object, bucket, key, outcome.body, outcome.content_type)
        except Exception:
            log.exception("storing the answer to %s of %s", job.inference_id, job.endpoint)
            self._count(job, "ResponseUploadFailures")
        topic = job.topic(ok=outcome.ok)
        if topic:
            try:
                said = message(job, outcome, place)
                await asyncio.to_thread(self._moto.notify, job.region, topic, "InferenceResult", said)
            except Exception:
                log.exception("telling of %s of %s", job.inference_id, job.endpoint)
                self._count(job, "NotificationFailures")
        self._count(job, "TotalProcessingTime", (time.time() - job.received) * 1e3)

    @contextlib.contextmanager
    def _timed(self, job: Job, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._count(job, name, (time.perf_counter() - begun) * 1e6)

    def _count(self, job: Job, name: str, value: float = 1.0) -> None:
        _, _, variant = self._capacity(job.region, job.endpoint)
        self._metrics.put(job.region, job.endpoint, variant, name, value)
