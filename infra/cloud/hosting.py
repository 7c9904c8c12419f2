"""SageMaker hosting: what creating, updating and deleting an endpoint does to processes."""

import asyncio
import fnmatch
import functools
import logging
import math
import random
import shutil
import uuid
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from infra.cloud import artifacts, rollout
from infra.cloud.capture import Capture, CaptureConfig
from infra.cloud.deployment import Crew, roll_out
from infra.cloud.errors import InstanceError
from infra.cloud.fleet import VariantFleet
from infra.cloud.groups import Groups
from infra.cloud.instances import FAILURE_REASON_LENGTH, InstanceSpec, Launcher
from infra.cloud.moto_app import Moto
from infra.cloud.options import Options
from infra.cloud.store import Config, Endpoint, Fleet, Pending, Store, Variant
from infra.cloud.watch import Watch

# What the API does not support here: the endpoint fails and says so, rather than behave otherwise than declared.
_UNSUPPORTED_CONFIG = {
    "ExplainerConfig": "explainers",
}
_DEFAULT_STARTUP_S = 300.0  # nothing documented; a process on this machine that needs longer is stuck
_SHUTDOWN_GRACE_S = 5.0

log = logging.getLogger(__name__)


class Hosting:
    """Endpoints as processes. Everything runs on the event loop's thread; only files and moto's S3 are threaded."""

    def __init__(self, options: Options, moto: Moto, groups: Groups, watch: Watch) -> None:
        self.options = options
        self._watch = watch
        self.store = Store()
        self._moto = moto
        self._launcher = Launcher(options, groups)
        self._folder = options.home / "endpoints"
        self._retiring: set[asyncio.Task[None]] = set()
        self._draw = random.Random(options.seed)  # noqa: S311 - a sample of requests is no secret

    @property
    def draw(self) -> random.Random:
        """The source of variant choices."""
        return self._draw

    def create(self, endpoint: Endpoint, config: Config) -> None:
        """Start a new endpoint: Creating, then InService or Failed."""
        self.store.endpoints[endpoint.region, endpoint.name] = endpoint
        endpoint.task = asyncio.create_task(self._create(endpoint, config))

    def update(self, endpoint: Endpoint, config: Config, keep: Mapping[str, Any]) -> None:
        """Replace the fleet as the endpoint's deployment configuration says: Updating, then InService.

        Args:
            endpoint: one that is in service; its `deployment` is that of this update.
            config: what it shall run.
            keep: per variant name the retained `weight` and `count`; `capture` at the key "".
        """
        endpoint.become("Updating")
        endpoint.task = asyncio.create_task(self._update(endpoint, config, keep))

    def resize(self, endpoint: Endpoint, weights: Mapping[str, float], counts: Mapping[str, int]) -> None:
        """Give variants new weights at once, and new instance counts in the background."""
        endpoint.become("Updating")
        endpoint.task = asyncio.create_task(self._resize(endpoint, weights, counts))

    def delete(self, endpoint: Endpoint) -> None:
        """Stop answering at once, end the processes in the background, then forget the endpoint."""
        endpoint.become("Deleting")
        endpoint.task = asyncio.create_task(self._delete(endpoint))

    def status(self) -> dict[str, Any]:
        """What only this cloud can show: the processes behind the declared instance counts."""
        return {"endpoints": [_status(endpoint) for endpoint in self.store.endpoints.values()]}

    def log_folders(self) -> list[tuple[str, str, Path]]:
        """Region, name and folder of log files of every endpoint."""
        return [(e.region, e.name, self._home(e) / "logs") for e in self.store.endpoints.values()]

    async def close(self) -> None:
        """End every process, fast, with what was captured written."""
        endpoints = list(self.store.endpoints.values())
        for endpoint in endpoints:
            if endpoint.task is not None:
                endpoint.task.cancel()
        tasks = [endpoint.task for endpoint in endpoints if endpoint.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        for retiring in self._retiring:
            retiring.cancel()
        fleets = [endpoint.fleet for endpoint in endpoints if endpoint.fleet is not None]
        fleets += [endpoint.pending.fleet for endpoint in endpoints if endpoint.pending is not None]
        await asyncio.gather(*(self._stop(fleet, drain=False) for fleet in fleets))

    async def _create(self, endpoint: Endpoint, config: Config) -> None:
        fleet = None
        try:
            fleet = await self._prepared(endpoint, config, {})
            await _grow(fleet, 1.0)
            endpoint.fleet = fleet
        except InstanceError as error:
            endpoint.become("Failed", _reason(error))
        except Exception as error:
            log.exception("creating %s", endpoint.name)
            endpoint.become("Failed", f"The embedded cloud failed: {error!r}")
        else:
            endpoint.become("InService")
        finally:
            if fleet is not None and endpoint.fleet is None:
                await self._stop(fleet, drain=False)

    async def _update(self, endpoint: Endpoint, config: Config, keep: Mapping[str, Any]) -> None:
        old = endpoint.fleet
        if old is None:
            raise ValueError(f"{endpoint.name} has no fleet: it was never in service")
        plan = rollout.plan(endpoint.deployment, max(variant.count for variant in old.variants.values()))
        crew = Crew(
            clock=self._watch.clock,
            in_alarm=lambda: self._watch.in_alarm(endpoint.region),
            grow=_grow,
            retire=lambda fleet: self._retire(self._stop(fleet, drain=True)),
        )
        try:
            endpoint.pending = Pending(await self._prepared(endpoint, config, keep))
            reason = await roll_out(endpoint, old, endpoint.pending, plan, crew)
        except InstanceError as error:
            if endpoint.pending is None:  # the model cannot be had: SageMaker rolls back likewise
                endpoint.become("InService", _reason(error))
                return
            endpoint.become("UpdateRollbackFailed", _reason(error))
            return
        except Exception as error:
            log.exception("updating %s", endpoint.name)
            pending, endpoint.pending = endpoint.pending, None
            if pending is not None:
                crew.retire(pending.fleet)
            reason = f"The embedded cloud failed: {error!r}"
        endpoint.become("InService", None if reason is None else reason[:FAILURE_REASON_LENGTH])

    async def _resize(self, endpoint: Endpoint, weights: Mapping[str, float], counts: Mapping[str, int]) -> None:
        fleet = endpoint.fleet
        reason = None
        if fleet is not None:
            for name, weight in weights.items():
                fleet.variants[name].weight = weight
            try:
                for name, count in counts.items():
                    await fleet.variants[name].fleet.scale(count)
                    fleet.variants[name].count = count
            except InstanceError as error:
                reason = _reason(error)
        endpoint.become("InService", reason)

    async def _delete(self, endpoint: Endpoint) -> None:
        fleet, endpoint.fleet = endpoint.fleet, None
        try:
            if fleet is not None:
                await self._stop(fleet, drain=True)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._home(endpoint), ignore_errors=True)
            self.store.endpoints.pop((endpoint.region, endpoint.name), None)

    async def _prepared(self, endpoint: Endpoint, config: Config, keep: Mapping[str, Any]) -> Fleet:
        """A fleet with its models unpacked and no instance yet, or InstanceError and nothing left of it."""
        for member, what in _UNSUPPORTED_CONFIG.items():
            if config.request.get(member):
                raise InstanceError(f"{what} ({member}) is not supported by the embedded cloud: leave it out locally")
        folder = self._home(endpoint) / f"fleet-{uuid.uuid4().hex[:8]}"
        variants: dict[str, Variant] = {}
        shadows: dict[str, Variant] = {}
        try:
            for declared in config.request["ProductionVariants"]:
                kept = keep.get(declared["VariantName"], {})
                variant = await self._prepare(endpoint, folder, {**declared, **kept})
                variants[variant.name] = variant
            for declared in config.request.get("ShadowProductionVariants", ()):
                shadow = await self._prepare(endpoint, folder, declared)
                shadows[shadow.name] = shadow
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        declared_capture = keep.get("", config.request.get("DataCaptureConfig"))
        capture = CaptureConfig.parse(declared_capture)
        seed = random.Random(f"{self.options.seed}/{endpoint.name}" if self.options.seed is not None else None)  # noqa: S311 - as above
        writer = Capture(capture, endpoint.name, self._moto.write_object, seed) if capture else None
        return Fleet(config, variants, folder, declared_capture, writer, shadows=shadows)

    async def _prepare(self, endpoint: Endpoint, folder: Path, declared: Mapping[str, Any]) -> Variant:
        """The variant with its model unpacked, no instance started."""
        name = declared["VariantName"]
        if "ModelName" not in declared:
            raise InstanceError(f"variant {name}: inference-component variants are not supported locally")
        serverless = declared.get("ServerlessConfig")
        container = self._moto.container(endpoint.region, declared["ModelName"])
        if not fnmatch.fnmatchcase(container.image, self.options.serve_image):
            raise InstanceError(
                f"image {container.image or '(none)'} is not sagestage's: needs Docker"
                f" (this cloud starts only images that match {self.options.serve_image})"
            )
        base_dir = folder / name
        await asyncio.to_thread(artifacts.unpack, self._moto, container.artifact, base_dir)
        timeout = float(declared.get("ContainerStartupHealthCheckTimeoutInSeconds", _DEFAULT_STARTUP_S))
        make_spec = functools.partial(
            _spec, name, base_dir, container.environment, self._home(endpoint) / "logs", folder.name, timeout
        )
        return Variant(
            name=name,
            weight=declared.get("InitialVariantWeight", 1.0),
            count=declared.get("InitialInstanceCount", 1),
            image=container.image,
            serverless=serverless,
            fleet=VariantFleet(self._launcher, make_spec, self.options.max_instances),
        )

    async def _stop(self, fleet: Fleet, *, drain: bool) -> None:
        grace = {} if drain else {"grace_s": _SHUTDOWN_GRACE_S}
        await asyncio.gather(*(v.fleet.stop(drain=drain, **grace) for v in fleet.all_variants))
        if fleet.capture is not None:
            await fleet.capture.close()
        await asyncio.to_thread(shutil.rmtree, fleet.folder, ignore_errors=True)

    def _retire(self, work: Awaitable[None]) -> None:
        """Do it beside what follows; an update is over when the new fleet answers."""
        task = asyncio.ensure_future(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _home(self, endpoint: Endpoint) -> Path:
        region = "" if endpoint.region == self.options.region else f"{endpoint.region}."
        return self._folder / f"{region}{endpoint.name}"


def _spec(
    variant: str, base_dir: Path, environment: Mapping[str, str], logs: Path, fleet: str, timeout_s: float, number: int
) -> InstanceSpec:
    return InstanceSpec(
        variant=variant,
        base_dir=base_dir,
        environment=environment,
        log=logs / f"{variant}-{number}.{fleet}.log",
        startup_timeout_s=timeout_s,
    )


def _status(endpoint: Endpoint) -> dict[str, Any]:
    fleet = endpoint.fleet
    return {
        "name": endpoint.name,
        "region": endpoint.region,
        "status": endpoint.status,
        "captured_records_lost": fleet.capture.dropped if fleet and fleet.capture else 0,
        "variants": [
            {
                "name": variant.name,
                "weight": variant.weight,
                "declared_instances": variant.count,
                "processes": [
                    {"pid": instance.pid, "port": instance.port, "log": str(instance.spec.log)}
                    for instance in variant.fleet.instances
                ],
            }
            for variant in (fleet.all_variants if fleet else ())
        ],
    }


def _reason(error: Exception) -> str:
    return str(error)[:FAILURE_REASON_LENGTH]


async def _grow(fleet: Fleet, share: float) -> None:
    """Give every variant of a fleet the instances that `share` of it takes.

    Raises:
        InstanceError: some are not healthy; those that were there before stay.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for variant in fleet.all_variants:
                processes = variant.fleet.processes(variant.count)
                group.create_task(variant.fleet.scale(math.ceil(share * processes - 1e-9)))
    except BaseExceptionGroup as errors:
        raise _cause(errors) from errors


def _cause(error: BaseException) -> BaseException:
    """What is inside a task group's group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
