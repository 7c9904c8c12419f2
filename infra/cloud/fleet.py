"""Fleets: the instances that an endpoint configuration runs, kept at their number."""

import asyncio
import logging
from collections.abc import Callable

from infra.cloud.errors import InstanceError
from infra.cloud.instances import TERMINATION_GRACE_S, Instance, InstanceSpec, Launcher
from infra.cloud.routing import least_outstanding

_PING_EVERY_S = 5.0
_PINGS_MISSED = 3
_FIRST_RETRY_S, _SLOWEST_RETRY_S = 0.2, 15.0

log = logging.getLogger(__name__)


class Slot:
    """A place for one instance; a crashed or deaf one is replaced until the slot is stopped."""

    def __init__(self, launcher: Launcher, spec: InstanceSpec) -> None:
        self.instance: Instance | None = None
        self._launcher = launcher
        self._spec = spec
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the first instance; raises InstanceError when it does not become healthy."""
        self.instance = await self._launcher.launch(self._spec)
        self._keeper = asyncio.create_task(self._keep(self.instance))

    async def stop(self, *, drain: bool, grace_s: float = TERMINATION_GRACE_S) -> None:
        """Take the instance out of the routing, let its requests end, and end it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        instance, self.instance = self.instance, None
        if instance is not None:
            if drain:
                await instance.drain()
            await instance.stop(grace_s)

    async def _keep(self, instance: Instance) -> None:
        while True:
            cause = await _trouble(instance)
            log.warning("instance %d of %s is replaced: %s", instance.pid, self._spec.variant, cause)
            self.instance = None
            await asyncio.shield(instance.stop(grace_s=0))  # also when the slot is stopped meanwhile
            self.instance = instance = await self._relaunch()

    async def _relaunch(self) -> Instance:
        pause = _FIRST_RETRY_S
        while True:
            try:
                return await self._launcher.launch(self._spec)
            except InstanceError as error:
                log.warning("%s: %s", self._spec.variant, error)
                await asyncio.sleep(pause)  # a model that crashes at start must not spin
                pause = min(2 * pause, _SLOWEST_RETRY_S)


async def _trouble(instance: Instance) -> str:
    """Wait until an instance needs to be replaced; why."""
    ended = asyncio.ensure_future(instance.exited())
    missed = 0
    try:
        while missed < _PINGS_MISSED:
            await asyncio.wait({ended}, timeout=_PING_EVERY_S)
            if ended.done():
                return f"it ended with exit code {ended.result()}"
            missed = 0 if await instance.ping() else missed + 1
        return f"it missed {missed} health checks in a row"
    finally:
        ended.cancel()


class VariantFleet:
    """The instances of one variant in one fleet.

    Args:
        make_spec: the instance's number, counted up over the fleet's life, to how it is started.
        most: the most processes, whatever count is asked for.
    """

    def __init__(self, launcher: Launcher, make_spec: Callable[[int], InstanceSpec], most: int) -> None:
        self._launcher = launcher
        self._make_spec = make_spec
        self._most = most
        self._slots: list[Slot] = []
        self._started = 0
        self._turn = 0

    @property
    def instances(self) -> list[Instance]:
        """The healthy instances."""
        return [slot.instance for slot in self._slots if slot.instance is not None]

    @property
    def size(self) -> int:
        """How many instances it keeps, healthy or not."""
        return len(self._slots)

    @property
    def outstanding(self) -> int:
        """Requests that its instances are working on."""
        return sum(instance.outstanding for instance in self.instances)

    def pick(self) -> Instance | None:
        """The instance that takes the next request."""
        self._turn += 1
        return least_outstanding(self.instances, self._turn)

    def processes(self, count: int) -> int:
        """How many processes stand for `count` instances on this machine."""
        return min(count, self._most)

    async def scale(self, count: int) -> None:
        """Have `count` instances, or as many of them as one machine is given.

        Raises:
            InstanceError: a new instance did not become healthy; those of this call are gone again.
        """
        wanted = self.processes(count)
        surplus = self._slots[wanted:]
        del self._slots[wanted:]
        await asyncio.gather(*(slot.stop(drain=True) for slot in surplus))
        fresh: list[Slot] = []
        while len(self._slots) + len(fresh) < wanted:
            self._started += 1
            fresh.append(Slot(self._launcher, self._make_spec(self._started)))
        try:
            async with asyncio.TaskGroup() as group:
                for slot in fresh:
                    group.create_task(slot.start())
        except BaseExceptionGroup as errors:
            await asyncio.gather(*(slot.stop(drain=False, grace_s=0) for slot in fresh))
            raise _first(errors) from errors
        except BaseException:
            await asyncio.gather(*(slot.stop(drain=False, grace_s=0) for slot in fresh))
            raise
        self._slots += fresh

    async def stop(self, *, drain: bool, grace_s: float = TERMINATION_GRACE_S) -> None:
        """End every instance."""
        slots, self._slots = self._slots, []
        await asyncio.gather(*(slot.stop(drain=drain, grace_s=grace_s) for slot in slots))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is not itself one."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
