"""What goes into the archive beside the weights: golden rows, and the versions that made the model."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from inference.contract.artifact import Golden
from inference.contract.predictions import Predictions
from training.heldout import HeldOut

GOLDEN_ROWS = 16
PACKAGES = ("sagestage", "numpy", "pyarrow", "ray", "torch")


def golden(held_out: HeldOut, predictions: Predictions) -> Golden:
    """Rows spread over the held-out ones, as a caller sends them, and the offline predictions for them."""
    numbers = np.unique(np.linspace(0, len(held_out) - 1, GOLDEN_ROWS).round().astype(np.int64)).tolist()
    odds = predictions.probabilities
    return Golden(
        instances=list(held_out.instances(numbers)),
        predictions=[float(predictions.values[number]) for number in numbers],
        probabilities=None if odds is None else [odds[number].tolist() for number in numbers],
    )


def versions() -> dict[str, str]:
    """What the model was made with."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
