"""Probabilities that mean what they say: one temperature (Guo et al., 2017), fitted on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from inference.contract.network import NetworkSpec, Single
from inference.contract.schema import Floats, Indices

COLDEST, WARMEST = 0.05, 20.0
STEPS = 60  # the golden section narrows by 0.618 a step
_SECTION = (math.sqrt(5.0) - 1.0) / 2.0


def temperature(outputs: Floats, classes: Indices) -> float:
    """The number by which to divide raw outputs (rows, classes) for the least log loss on these classes.

    Each row's class counts as probable, not as certain (Platt, 1999): n rows without an error do not show that there is
    none, and the outputs would be sharpened without end.
    """
    rows, count = outputs.shape
    doubt = 1.0 / (rows + 2.0)
    wanted = np.full((rows, count), doubt / max(count - 1, 1))
    wanted[np.arange(rows), classes] = 1.0 - doubt

    def loss(log: float) -> float:
        scaled = outputs / math.exp(log)
        peak = scaled.max(axis=1)
        sums = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
        return float((sums - (wanted * scaled).sum(axis=1)).mean())

    low, high = math.log(COLDEST), math.log(WARMEST)  # the loss is convex in 1/T, hence has one valley in log T
    for _ in range(STEPS):
        width = _SECTION * (high - low)
        if loss(high - width) <= loss(low + width):
            high = low + width
        else:
            low = high - width
    return math.exp((low + high) / 2.0)


def cool(weights: Mapping[str, Single], network: NetworkSpec, by: float) -> dict[str, Single]:
    """Weights whose outputs are divided: the last layer takes the temperature in, and serving knows none of it."""
    last = f"layers.{len(network.hidden)}."
    return {
        name: (weight / by).astype(np.float32) if name.startswith(last) else weight for name, weight in weights.items()
    }
