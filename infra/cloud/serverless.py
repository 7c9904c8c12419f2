"""Serverless variants: started by the first request, and gone again after a while without one."""

import asyncio
import time
from collections.abc import Callable, Iterable

from infra.cloud.clock import Clock
from infra.cloud.fleet import VariantFleet

IDLE_S = 300.0  # declared; AWS names no time, five minutes are what is commonly seen


class Warmth:
    """Whether a serverless variant has a process, and since when nobody asked it.

    Args:
        fleet: its processes.
        clock: for the idle time.
        provisioned: declared provisioned concurrency; above 0 it never goes cold.
    """

    def __init__(self, fleet: VariantFleet, clock: Clock, provisioned: int) -> None:
        self._fleet = fleet
        self._clock = clock
        self._provisioned = provisioned
        self._lock = asyncio.Lock()
        self._used = clock.now()
        self.asked = 0

    async def wake(self) -> float:
        """Have a process; how long that took, in microseconds, 0 where one is there.

        Raises:
            InstanceError: it does not start.
        """
        self._used = self._clock.now()
        if self._fleet.size:
            return 0.0
        begun = time.perf_counter()
        async with self._lock:  # of many requests at once, one starts the process
            if not self._fleet.size:
                await self._fleet.scale(1)
        return (time.perf_counter() - begun) * 1e6

    async def cool(self) -> None:
        """End the process of a variant that nobody has asked for a while."""
        idle = self._clock.now() - self._used >= IDLE_S
        if idle and not self.asked and not self._provisioned and self._fleet.size:
            async with self._lock:
                await self._fleet.scale(0)


class Cooler:
    """Lets go of serverless variants that nobody uses.

    Args:
        warm: the serverless variants there are.
    """

    def __init__(self, warm: Callable[[], Iterable[Warmth]]) -> None:
        self._warm = warm
        self._tasks: set[asyncio.Task[None]] = set()

    def tick(self) -> None:
        """Look at each, in the background."""
        for warmth in self._warm():
            task = asyncio.get_running_loop().create_task(warmth.cool())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
