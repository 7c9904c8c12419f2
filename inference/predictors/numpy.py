"""A network on numpy: no other import, so a process starts in a fraction of a second."""

from __future__ import annotations

from collections.abc import Mapping

from inference.contract.network import NetworkSpec, Single, layers, run
from inference.contract.schema import Floats
from inference.predictors import inline_rows


class NumpyPredictor:
    """The forward pass with weights laid out once as the matrix product wants them."""

    name = "numpy"
    lanes = 1

    def __init__(self, spec: NetworkSpec, weights: Mapping[str, Single]) -> None:
        self.inline_rows = inline_rows(spec)
        self._activation = spec.activation
        self._layers = layers(spec, weights)

    def __call__(self, features: Single) -> Floats:
        """Raw outputs, float64 of shape (rows, outputs)."""
        return run(self._layers, self._activation, features)
