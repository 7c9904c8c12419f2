"""Carrying a batch transform job out: its instances, its files, and where the answers go."""

import asyncio
import gzip
import json
import logging
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from infra.cloud import artifacts, batches
from infra.cloud.asking import post
from infra.cloud.batches import BatchError, Processing
from infra.cloud.capture import now
from infra.cloud.errors import InstanceError
from infra.cloud.fleet import VariantFleet
from infra.cloud.instances import FAILURE_REASON_LENGTH, Instance, InstanceSpec, Launcher
from infra.cloud.moto_app import Moto
from infra.cloud.options import Options
from infra.cloud.preparing import image_of
from infra.cloud.records import arn

_DEFAULT_TIMEOUT_S, _DEFAULT_RETRIES = 600, 3  # botocore: ModelClientConfig
_STARTUP_S = 300.0
_ASKED = {  # what a container is told, and may tell by GET /execution-parameters
    "MaxConcurrentTransforms": "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
    "BatchStrategy": "SAGEMAKER_BATCH_STRATEGY",
    "MaxPayloadInMB": "SAGEMAKER_MAX_PAYLOAD_IN_MB",
}
log = logging.getLogger(__name__)


@dataclass
class Job:
    """A batch transform job: its request, and what became of it."""

    name: str
    region: str
    request: Mapping[str, Any]
    tags: dict[str, str]
    status: str = "InProgress"
    reason: str | None = None
    created: datetime = field(default_factory=now)
    modified: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    task: asyncio.Task[None] | None = None
    changed: Callable[[], None] = field(default=lambda: None)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return arn(self.region, "transform-job", self.name)

    def become(self, status: str, reason: str | None = None) -> None:
        """Change the status, and why."""
        self.status, self.modified = status, now()
        self.reason = None if reason is None else reason[:FAILURE_REASON_LENGTH]
        if status in ("Completed", "Failed", "Stopped"):
            self.ended = self.modified
        self.changed()


@dataclass(frozen=True)
class Order:
    """How a job's files are worked on."""

    split: str
    single: bool
    limit: int
    at_once: int
    timeout_s: float
    retries: int
    headers: Mapping[str, str]
    types: tuple[str, str]
    assemble: str
    processing: Processing


class Works:
    """Runs jobs, each on instances of its own, in `home/transforms/NAME`."""

    def __init__(self, options: Options, moto: Moto, launcher: Launcher) -> None:
        self._options = options
        self._moto = moto
        self._launcher = launcher
        self.folder = options.home / "transforms"

    async def run(self, job: Job) -> None:
        """Run a job to its end: Completed, Failed or, when the task is cancelled, Stopped."""
        folder = self.folder / job.name
        fleet = None
        try:
            job.started = now()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            fleet = await self._fleet(job, folder)
            await fleet.scale(job.request["TransformResources"]["InstanceCount"])
            failures = await self._files(job, fleet)
            if failures:
                job.become("Failed", "ClientError: " + "; ".join(failures))
            else:
                job.become("Completed")
        except InstanceError as error:
            job.become("Failed", f"AlgorithmError: {error}")
        except asyncio.CancelledError:
            if job.status == "Stopping":
                job.become("Stopped")
        except Exception as error:
            log.exception("transform job %s", job.name)
            job.become("Failed", f"InternalServerError: the embedded cloud failed: {error!r}")
        finally:
            if fleet is not None:
                await asyncio.shield(fleet.stop(drain=False))
            await asyncio.to_thread(shutil.rmtree, folder / "model", ignore_errors=True)

    async def _fleet(self, job: Job, folder: Path) -> VariantFleet:
        container = self._moto.container(job.region, job.request["ModelName"])
        image = await asyncio.to_thread(image_of, container, self._options)
        await asyncio.to_thread(artifacts.unpack, self._moto, container.artifact, folder)
        told = {variable: str(job.request[name]) for name, variable in _ASKED.items() if name in job.request}
        environment = {**container.environment, **job.request.get("Environment", {}), **told, "SAGEMAKER_BATCH": "true"}

        def spec(number: int) -> InstanceSpec:
            log_file = folder / "logs" / f"{job.name}-{number}.{job.name}.log"
            return InstanceSpec("transform", folder, environment, log_file, _STARTUP_S, image)

        return VariantFleet(self._launcher, spec, self._options.max_instances)

    async def _files(self, job: Job, fleet: VariantFleet) -> list[str]:
        """Transform every file; what was wrong with those that could not be."""
        order = await _order(job.request, fleet.instances[0])
        sources = await asyncio.to_thread(self._sources, job.request)
        if not sources:
            raise InstanceError(f"there is no object at {_source(job.request)['S3Uri']}")
        free = asyncio.Semaphore(order.at_once * max(1, len(fleet.instances)))
        outcomes = await asyncio.gather(
            *(self._file(job, fleet, order, free, *source) for source in sources), return_exceptions=True
        )
        failures = []
        for (bucket, key, _), outcome in zip(sources, outcomes, strict=True):
            if isinstance(outcome, BatchError | InstanceError):
                failures.append(f"s3://{bucket}/{key}: {outcome}")
            elif isinstance(outcome, BaseException):
                raise outcome
        return failures

    async def _file(
        self, job: Job, fleet: VariantFleet, order: Order, free: asyncio.Semaphore, bucket: str, key: str, below: str
    ) -> None:
        data = await asyncio.to_thread(self._moto.read_object, bucket, key)
        if job.request["TransformInput"].get("CompressionType") == "Gzip":
            data = await asyncio.to_thread(_unzipped, data)
        parts = batches.records(data, order.split)
        # What is sent is cut to size after filtering, and joined with the whole records.
        sent = batches.filtered(parts, order.types[0], order.processing.sent)
        groups = batches.payloads(sent, order.split, single=order.single, limit=order.limit)
        begin = 0
        work = []
        for group in groups:
            whole = parts[begin : begin + len(group)]
            begin += len(group)
            work.append(_answer(fleet, order, free, group, whole))
        answers = await asyncio.gather(*work)
        place = urlsplit(job.request["TransformOutput"]["S3OutputPath"])
        target = "/".join(filter(None, [place.path.strip("/"), f"{below}.out"]))
        content = batches.assembled(answers, order.assemble)
        await asyncio.to_thread(
            self._moto.write_object, place.netloc, target, content, order.types[1] or "binary/octet-stream"
        )

    def _sources(self, request: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Bucket, key, and the key below the output's path, of each file."""
        source = _source(request)
        address = urlsplit(source["S3Uri"])
        prefix = address.path.lstrip("/")
        if source["S3DataType"] == "S3Prefix":
            parent = prefix.rpartition("/")[0]
            keys = [key for key in self._moto.keys(address.netloc, prefix) if not key.endswith("/")]
            return [(address.netloc, key, key.removeprefix(parent).lstrip("/")) for key in keys]
        if source["S3DataType"] != "ManifestFile":
            raise InstanceError(f"S3DataType {source['S3DataType']} is not supported by the embedded cloud")
        try:
            head, *names = json.loads(self._moto.read_object(address.netloc, prefix))
            root = urlsplit(head["prefix"])
        except (ValueError, KeyError, TypeError) as error:
            raise InstanceError(f"{source['S3Uri']} is no manifest: {error!r}") from error
        return [(root.netloc, f"{root.path.lstrip('/')}{name}", str(name).lstrip("/")) for name in names]


def _source(request: Mapping[str, Any]) -> Mapping[str, Any]:
    source: Mapping[str, Any] = request["TransformInput"]["DataSource"]["S3DataSource"]
    return source


async def _order(request: Mapping[str, Any], instance: Instance) -> Order:
    """What the request says, and where it is silent, what the container asks for."""
    told = await _parameters(instance)
    asked = {**{name: told[name] for name in _ASKED if told.get(name)}, **{k: v for k, v in request.items() if v}}
    come, go = request["TransformInput"], request["TransformOutput"]
    processing, client = request.get("DataProcessing", {}), request.get("ModelClientConfig", {})
    payload = request.get("MaxPayloadInMB", asked.get("MaxPayloadInMB", batches.DEFAULT_PAYLOAD_MB))
    types = (come.get("ContentType", ""), go.get("Accept", ""))
    strategy = str(asked.get("BatchStrategy", "MultiRecord")).replace("_", "").lower()
    return Order(
        split=come.get("SplitType", "None"),
        single=strategy == "singlerecord",
        limit=int(payload) * batches.MIB,
        at_once=int(asked.get("MaxConcurrentTransforms", 1)),
        timeout_s=float(client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT_S)),
        retries=int(client.get("InvocationsMaxRetries", _DEFAULT_RETRIES)),
        headers={name: value for name, value in zip(("Content-Type", "Accept"), types, strict=True) if value},
        types=types,
        assemble=go.get("AssembleWith", "None"),
        processing=Processing(
            processing.get("InputFilter", "$"),
            processing.get("OutputFilter", "$"),
            processing.get("JoinSource", "None") == "Input",
        ),
    )


async def _parameters(instance: Instance) -> Mapping[str, Any]:
    """What a container tells at GET /execution-parameters, if it does."""
    try:
        async with instance.session.get(instance.url / "execution-parameters") as answer:
            told = await answer.json(content_type=None) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


async def _answer(
    fleet: VariantFleet, order: Order, free: asyncio.Semaphore, sent: list[bytes], whole: list[bytes]
) -> bytes:
    body = batches.body(sent, order.split)
    async with free:
        for left in range(order.retries, -1, -1):
            instance = fleet.pick()
            reply = None
            if instance is not None:
                try:
                    reply = await post(instance, dict(order.headers), body, timeout_s=order.timeout_s)
                except aiohttp.ClientConnectorError:
                    reply = None  # it has just ended; its slot starts another one
            if reply is not None and (reply.ok or 400 <= reply.status < 500 or not left):
                break  # a bad record stays bad
            if left:
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    if reply is None:
        raise BatchError("no instance answers")
    if not reply.ok:
        said = reply.body.decode(errors="replace")[:200]
        raise BatchError(f"the container answered {reply.status or 'nothing'}: {said}")
    return reply.body if order.processing.idle else batches.joined(whole, reply.body, order.types, order.processing)


def _unzipped(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise BatchError(f"it is not gzip: {error}") from error
