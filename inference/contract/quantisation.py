"""Weights in a quarter of the bytes: int8 with a scale a row (output channel), biases as they were.

Weight-only: `expand` gives float32 back, and what computes with them knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inference.contract.errors import ArtifactError
from inference.contract.network import Single

LEVELS = 127
"""Symmetric: -127..127, so that a weight and its opposite stay opposites."""


def shrink(weights: Mapping[str, Single]) -> dict[str, Any]:
    """What is stored of each matrix: `NAME`, int8 of shape (out, in), and `NAME.scale`, float32 of shape (out,)."""
    stored: dict[str, Any] = {}
    for name, array in weights.items():
        if array.ndim != 2:
            stored[name] = array
            continue
        scale = (np.abs(array).max(axis=1) / LEVELS).astype(np.float32)
        safe = np.where(scale > 0, scale, np.float32(1))
        stored[name] = np.clip(np.rint(array / safe[:, None]), -LEVELS, LEVELS).astype(np.int8)
        stored[f"{name}.scale"] = scale
    return stored


def expand(stored: Mapping[str, Any]) -> dict[str, Single]:
    """The float32 weights that were stored.

    Raises:
        ArtifactError: a matrix is not int8, or its scales are missing, of another shape, or not finite.
    """
    weights: dict[str, Single] = {}
    for name, array in stored.items():
        if name.endswith(".scale"):
            continue
        if array.ndim != 2:
            weights[name] = array
            continue
        scale = stored.get(f"{name}.scale")
        if array.dtype != np.int8 or scale is None or scale.dtype != np.float32 or scale.shape != array.shape[:1]:
            raise ArtifactError(f"weight {name} is not int8 with a float32 scale a row: quantize the model again")
        weights[name] = array.astype(np.float32) * scale[:, None]
    return weights
