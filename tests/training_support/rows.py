"""What the tests of training have in common: rows and features of a run as plain arrays, and feature tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.features import FeatureSet
from training.spill import Spill
from training.split import PARTS, Part
from training.table import FeatureTable, Writer


def silent(_text: str, _fraction: float | None = None) -> None:
    """Nobody listens to a stage."""


def values(spill: Spill) -> NDArray[np.float64]:
    """All rows."""
    return spill.read(0, spill.rows)


def matrix(features: FeatureSet) -> NDArray[np.float32]:
    """The features of all rows."""
    with features.table.open() as file:
        return np.concatenate([file.read(block)[0] for block in range(file.blocks)])


def usable(features: FeatureSet, part: Part) -> list[int]:
    """The rows of a part that are of use."""
    found: list[int] = np.flatnonzero(features.table.uses() == PARTS.index(part)).tolist()
    return found


def table(folder: Path, features: NDArray[np.float32], targets: NDArray[Any], training: int) -> FeatureTable:
    """A table whose first rows train and whose others validate."""
    made = FeatureTable(folder, len(targets), features.shape[1], targets.dtype == np.float32)
    use = (np.arange(len(targets)) >= training).astype(np.int8)
    with Writer(made, 0) as file:
        file.write(features, targets, use)
    return made
