"""Stateful sessions: which instance keeps which session. Pure, but for the clock that is passed in.

The model makes a session and says so in its answer (`ID; Expires=2026-01-31T12:00:00Z`), or that it has closed one; the
service sends later requests of that session to the same instance. Source: SageMaker developer guide, stateful sessions.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

CREATE = "NEW_SESSION"
_MADE = re.compile(r"([a-zA-Z0-9](?:-*[a-zA-Z0-9])*); ?Expires=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


@dataclass(frozen=True)
class Seat:
    """An instance that has a session, and until when (seconds since 1970)."""

    instance: Any
    until: float


class Sessions:
    """The sessions of one fleet's variant.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seats: dict[str, Seat] = {}

    def made(self, told: str, instance: Any) -> None:
        """Remember what a container said of a new session; what is not in the documented form is no session."""
        found = _MADE.fullmatch(told)
        if found:
            now = self._clock()
            self._seats = {name: seat for name, seat in self._seats.items() if seat.until > now}
            until = datetime.strptime(found[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
            self._seats[found[1]] = Seat(instance, until)

    def closed(self, name: str) -> None:
        """Forget a session."""
        self._seats.pop(name, None)

    def instance(self, name: str) -> Any | None:
        """The instance that has a session; None for one that is over, or never was."""
        seat = self._seats.get(name)
        return None if seat is None or seat.until <= self._clock() else seat.instance
