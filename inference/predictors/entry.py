"""A model of the user's own: what computes is a Python function that the operator names in SAGESTAGE_ENTRY.

    def load(artifact: Artifact) -> Callable[[NDArray[float32]], NDArray[float64]]: ...

It is called once in each worker, gets the artifact (its manifest, its weights from the safetensors file) and returns a
function from features, shape (rows, network.inputs), to raw outputs, shape (rows, network.outputs). Rows must not
depend on each other. An archive cannot name the function itself: it would choose which code runs here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from inference.contract.artifact import Artifact
from inference.contract.network import Single
from inference.contract.schema import Floats
from inference.errors import StartError


class EntryPredictor:
    """The user's function, with the shape of its answers checked; computed on a thread."""

    inline_rows = 0
    lanes = 1

    def __init__(self, entry: str, compute: Callable[[Single], Floats], outputs: int) -> None:
        self.name = f"python {entry}"
        self._compute = compute
        self._outputs = outputs

    def __call__(self, features: Single) -> Floats:
        """Raw outputs. Raises ValueError when they have another shape."""
        outputs: Floats = np.asarray(self._compute(features), dtype=np.float64)
        if outputs.shape != (len(features), self._outputs):
            raise ValueError(f"{self.name} gave shape {outputs.shape}, expected {(len(features), self._outputs)}")
        return outputs


def load(entry: str | None, artifact: Artifact) -> EntryPredictor:
    """Import the function that `entry` ("package.module:function") names, and call it.

    Raises:
        StartError: no function is named, or it cannot be imported, or it fails.
    """
    if not entry:
        raise StartError("this model is computed by Python code: name it in SAGESTAGE_ENTRY=package.module:function")
    module, _, function = entry.partition(":")
    try:
        compute = getattr(importlib.import_module(module), function)(artifact)
    except Exception as error:
        text = f"SAGESTAGE_ENTRY={entry!r} fails: {type(error).__name__}: {error}"
        raise StartError(" ".join(text.split())) from error
    if not callable(compute):
        raise StartError(f"SAGESTAGE_ENTRY={entry!r} returned {type(compute).__name__}: it must return a function")
    return EntryPredictor(entry, compute, artifact.manifest.network.outputs)
