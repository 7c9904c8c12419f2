"""SageMaker hosting: what creating, updating and deleting an endpoint does to processes."""

import asyncio
import logging
import math
import random
import shutil
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from infra.cloud import rollout
from infra.cloud.deployment import Crew, roll_out
from infra.cloud.errors import InstanceError
from infra.cloud.instances import FAILURE_REASON_LENGTH, Launcher
from infra.cloud.journal import Journal
from infra.cloud.lives import Life
from infra.cloud.logs import GROUP
from infra.cloud.metrics import Metrics
from infra.cloud.moto_app import Moto
from infra.cloud.options import Options
from infra.cloud.preparing import Workshop
from infra.cloud.records import Config, Endpoint, Fleet, Pending
from infra.cloud.serverless import Warmth
from infra.cloud.store import Store
from infra.cloud.watch import Watch

_SHUTDOWN_GRACE_S = 5.0

log = logging.getLogger(__name__)


class Hosting:
    """Endpoints as processes. Everything runs on the event loop's thread; only files and moto's S3 are threaded."""

    def __init__(
        self, options: Options, moto: Moto, launcher: Launcher, watch: Watch, journal: Journal, metrics: Metrics
    ) -> None:
        self.options = options
        self._watch = watch
        self.store = Store(journal)
        self._workshop = Workshop(options, moto, launcher, watch.clock, metrics)
        self._folder = options.home / "endpoints"
        self._retiring: set[asyncio.Task[None]] = set()
        self._draw = random.Random(options.seed)  # noqa: S311 - a sample of requests is no secret

    @property
    def draw(self) -> random.Random:
        """The source of variant choices."""
        return self._draw

    def create(self, endpoint: Endpoint, config: Config) -> None:
        """Start a new endpoint: Creating, then InService or Failed."""
        self.store.add(endpoint)
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

    def capacity(self, region: str, name: str) -> tuple[int, int, str]:
        """An endpoint's healthy instances, its declared ones, and its first variant; -1 declared ones: it is gone."""
        endpoint = self.store.endpoints.get((region, name))
        if endpoint is None:
            return 0, -1, ""
        if endpoint.fleet is None:
            return 0, 0, ""
        variants = list(endpoint.fleet.variants.values())
        healthy = sum(len(variant.fleet.instances) for variant in variants)
        return healthy, sum(variant.count for variant in variants), variants[0].name

    def asynchronous(self) -> list[tuple[str, str]]:
        """Region and name of the asynchronous endpoints."""
        return [
            (e.region, e.name)
            for e in self.store.endpoints.values()
            if e.fleet is not None and "AsyncInferenceConfig" in e.fleet.config.request
        ]

    def warmths(self) -> list[Warmth]:
        """The serverless variants of every endpoint."""
        fleets = [endpoint.fleet for endpoint in self.store.endpoints.values() if endpoint.fleet is not None]
        return [variant.warmth for fleet in fleets for variant in fleet.variants.values() if variant.warmth is not None]

    def log_folders(self) -> list[tuple[str, str, Path]]:
        """Region, log group and folder of log files of every endpoint."""
        return [(e.region, f"{GROUP}{e.name}", self._workshop.home(e) / "logs") for e in self.store.endpoints.values()]

    async def restore(self) -> None:
        """Bring back what an earlier life's journal has, and wait until its endpoints are in service, or not to be had.

        An endpoint that was being updated runs what it ran before; files that no endpoint has are removed.
        """
        known = self.store.restore()
        kept = {self._workshop.home(endpoint) for endpoint, _ in known}
        for left in self._folder.glob("*"):
            for fleet in [left] if left not in kept else left.glob("fleet-*"):
                await asyncio.to_thread(shutil.rmtree, fleet, ignore_errors=True)
        for endpoint, life in known:
            if life.config is not None:
                endpoint.task = asyncio.create_task(self._bring_back(endpoint, life, life.config))
        tasks = [endpoint.task for endpoint, _ in known if endpoint.task is not None]
        if tasks:
            await asyncio.wait(tasks)

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
            fleet = await self._workshop.prepared(endpoint, config, {})
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

    async def _bring_back(self, endpoint: Endpoint, life: Life, config: Config) -> None:
        fleet = None
        try:
            fleet = await self._workshop.prepared(endpoint, config, life.keep, life.containers)
            fleet.updated = life.updated
            await _grow(fleet, 1.0)
            endpoint.fleet = fleet
        except InstanceError as error:
            endpoint.become("Failed", _reason(error))
        except Exception as error:
            log.exception("bringing %s back", endpoint.name)
            endpoint.become("Failed", f"The embedded cloud failed: {error!r}")
        else:
            endpoint.become("InService", life.reason)
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
            endpoint.pending = Pending(await self._workshop.prepared(endpoint, config, keep))
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
            await asyncio.to_thread(shutil.rmtree, self._workshop.home(endpoint), ignore_errors=True)
            self.store.remove(endpoint)

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
