"""A model of a user's own, for tests, that computes only while nobody holds the lock on the file GATE."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.contract.artifact import Artifact
from inference.contract.network import Single
from inference.contract.schema import Floats
from inference.predictors.numpy import NumpyPredictor

ENTRY = f"{__name__}:load"


def load(artifact: Artifact) -> Callable[[Single], Floats]:
    """The network of the manifest, behind the gate."""
    network = NumpyPredictor(artifact.manifest.network, artifact.weights)

    def compute(features: Single) -> Floats:
        with Path(os.environ["GATE"]).open() as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
            return network(features)

    return compute


@contextmanager
def closed(gate: Path) -> Iterator[None]:
    """Nothing is computed meanwhile."""
    with gate.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
