"""From a trained network to model.tar.gz: manifest, weights and golden rows; the same content gives the same bytes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from inference.contract import artifact
from inference.contract.artifact import Golden, Manifest
from inference.contract.network import NetworkSpec, Single
from inference.contract.predictions import Predictions
from inference.contract.transform import Transform
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


def package(
    path: Path,
    *,
    name: str,
    transform: Transform,
    network: NetworkSpec,
    weights: Mapping[str, Single],
    metrics: dict[str, float],
    rows: dict[str, int],
    trained_until: str | None,
    golden: Golden,
) -> str:
    """Write the archive and return its sha256.

    Raises:
        ArtifactError: the model does not give its golden answers.
    """
    manifest = Manifest(
        name=name,
        transform=transform,
        network=network,
        metrics=metrics,
        rows=rows,
        trained_until=trained_until,
        versions=versions(),
    )
    return artifact.pack(path, manifest, weights, golden)


def versions() -> dict[str, str]:
    """What the model was made with."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
