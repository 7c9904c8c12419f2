"""A network on numpy: no other import, so a process starts in a fraction of a second."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inference.contract.network import NetworkSpec, Single, activate
from inference.predictors import inline_rows


class NumpyPredictor:
    """The forward pass with weights laid out once as the matrix product wants them."""

    name = "numpy"

    def __init__(self, spec: NetworkSpec, weights: Mapping[str, Single]) -> None:
        self.inline_rows = inline_rows(spec)
        self._activation = spec.activation
        layers = [
            (np.ascontiguousarray(weights[f"layers.{layer}.weight"].T), weights[f"layers.{layer}.bias"])
            for layer in range(len(spec.hidden) + 1)
        ]
        self._hidden, (self._weight, self._bias) = layers[:-1], layers[-1]

    def __call__(self, features: Single) -> Single:
        """Raw outputs, float32 of shape (rows, outputs)."""
        values = features
        for weight, bias in self._hidden:
            values = values @ weight
            values += bias
            values = activate(values, self._activation)
        outputs = values @ self._weight
        outputs += self._bias
        return outputs
