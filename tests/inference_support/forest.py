"""A model of a user's own, for tests: two stumps, named in SAGESTAGE_ENTRY."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.contract.artifact import Artifact
from inference.contract.network import Single
from inference.contract.schema import Floats


def load(artifact: Artifact) -> Callable[[Single], Floats]:
    """Splits at the thresholds among the weights."""
    thresholds = artifact.weights["thresholds"]

    def compute(features: Single) -> Floats:
        return (features[:, : len(thresholds)] > thresholds).sum(axis=1, keepdims=True).astype(np.float64)

    return compute


def flat(_artifact: Artifact) -> Callable[[Single], Floats]:
    """Answers of the wrong shape."""
    return lambda features: features[:, 0].astype(np.float64)


def broken(_artifact: Artifact) -> Callable[[Single], Floats]:
    """Fails while it loads."""
    raise RuntimeError("no forest here")
