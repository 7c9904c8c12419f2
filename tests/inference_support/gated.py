"""A model of a user's own, for tests, that computes only while nobody holds the lock on the file GATE_FILE."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from inference.contract.artifact import Artifact
from inference.contract.network import Single
from inference.contract.schema import Floats
from inference.predictors.numpy import NumpyPredictor
from tests.inference_support import artifacts


def pack(model: Artifact, archive: Path) -> Artifact:
    """Write the model so that it is computed here; what was written."""
    made = replace(model, manifest=model.manifest.model_copy(update={"program": "python"}))
    artifacts.pack(made, archive)
    return made


def settings(gate: Path) -> dict[str, str]:
    """The environment of a server with such a model, whose gate is open."""
    gate.touch()
    return {"SAGESTAGE_ENTRY": f"{__name__}:load", "GATE_FILE": str(gate)}


def load(artifact: Artifact) -> Callable[[Single], Floats]:
    """The network of the manifest, behind the gate."""
    network = NumpyPredictor(artifact.manifest.network, artifact.weights)

    def compute(features: Single) -> Floats:
        with Path(os.environ["GATE_FILE"]).open() as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
            return network(features)

    return compute


@contextmanager
def closed(gate: Path) -> Iterator[None]:
    """Nothing is computed meanwhile."""
    with gate.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
