"""Durations as resource options write them: Go's `1h30m`, `90s`, `250ms`."""

from __future__ import annotations

import re
from typing import Final

from infra.engine.errors import EngineError

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|h|m|s)")


def seconds(text: str, whose: str) -> float:
    """The seconds in a duration.

    Raises:
        EngineError: it is none; the message names `whose` it is.
    """
    parts = _PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise EngineError(f"{whose}: timeout {text!r} is no duration; write it like 10m or 1h30m")
    total = sum((float(n) * _UNITS[u] for n, u in parts), 0.0)
    return int(total) if total.is_integer() else total
