"""The time that declared waits, alarm periods and cooldowns are measured in."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Declared seconds pass `scale` times as fast as this machine's; time stamps stay those of this machine.

    With a scale of 60, a bake of ten minutes takes ten seconds, and so does an alarm's window of ten minutes.
    """

    scale: float = 1.0

    def now(self) -> float:
        """Declared seconds, from an arbitrary beginning; never goes back."""
        return time.monotonic() * self.scale

    def real(self, seconds: float) -> float:
        """How long `seconds` of declared time take here, in seconds."""
        return seconds / self.scale

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of declared time."""
        await asyncio.sleep(self.real(seconds))
