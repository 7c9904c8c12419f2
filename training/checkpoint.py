"""What an interrupted training goes on from: one safetensors file, its figures in the header. No pickles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load, save

from training import storage

_HEADER = "state"
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Arrays by name, and figures that JSON can hold exactly."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    figures: Mapping[str, Any]


def write(place: str, state: Checkpoint) -> None:
    """Write it, whole or not at all.

    Raises:
        TrainingError: there is no room or no permission.
    """
    arrays = {key: np.ascontiguousarray(array) for key, array in state.arrays.items()}
    storage.write_bytes(place, save(arrays, metadata={_HEADER: orjson.dumps(dict(state.figures)).decode()}))


def read(place: str) -> Checkpoint | None:
    """The state to go on from; None where there is none, or one that was cut off."""
    content = load_bytes(place)
    return None if content is None else parse(content)


def load_bytes(place: str) -> bytes | None:
    """The file as it is; None where there is none."""
    return storage.read_bytes(place)


def parse(content: bytes) -> Checkpoint | None:
    """The state in a file; None for one that was cut off."""
    try:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        header = orjson.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return Checkpoint(load(content), orjson.loads(header["__metadata__"][_HEADER]))
    except (SafetensorError, orjson.JSONDecodeError, KeyError, OverflowError):
        return None
