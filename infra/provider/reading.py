"""Finding one's way in what AWS answers."""

from __future__ import annotations

from typing import Any


def dig(value: Any, path: str) -> Any:
    """The value at a dotted path through objects and lists (`MetricAlarms.0`), or None where it ends early."""
    for step in filter(None, path.split(".")):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value
