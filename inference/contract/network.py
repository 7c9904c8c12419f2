"""The network as a value, and its forward pass in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from inference.contract.errors import ArtifactError
from inference.contract.schema import Floats, Frozen

Single = NDArray[np.float32]


class Activation(StrEnum):
    """What stands between two layers."""

    RELU = "relu"
    TANH = "tanh"
    SILU = "silu"


class NetworkSpec(Frozen):
    """A multi-layer perceptron: `inputs` features, hidden layers with an activation each, `outputs` raw numbers.

    Layer i has `layers.{i}.weight` of shape (out, in) and `layers.{i}.bias` of shape (out,), float32.
    """

    inputs: PositiveInt
    hidden: tuple[PositiveInt, ...]
    outputs: PositiveInt
    activation: Activation = Activation.RELU

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every weight."""
        sizes = (self.inputs, *self.hidden, self.outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (before, after) in enumerate(pairwise(sizes)):
            shapes[f"layers.{layer}.weight"] = (after, before)
            shapes[f"layers.{layer}.bias"] = (after,)
        return shapes

    def check(self, weights: Mapping[str, Single]) -> None:
        """Raise ArtifactError unless the weights have these names and shapes and are finite float32."""
        if set(weights) != set(self.shapes):
            odd = sorted(set(weights) ^ set(self.shapes))
            raise ArtifactError(f"the weights do not fit the network: {', '.join(odd)} missing or not expected")
        for name, shape in self.shapes.items():
            array = weights[name]
            if array.shape != shape or array.dtype != np.float32:
                raise ArtifactError(f"weight {name} is {array.dtype} {array.shape}; the network has float32 {shape}")
            if not np.isfinite(array).all():
                raise ArtifactError(f"weight {name} holds NaN or infinity: train again or take an earlier artifact")


def activate(values: Floats, activation: Activation) -> Floats:
    """Apply the activation; may reuse the memory of `values`."""
    match activation:
        case Activation.RELU:
            return np.maximum(values, 0.0, out=values)
        case Activation.TANH:
            return np.tanh(values, out=values)
        case Activation.SILU:
            with np.errstate(over="ignore"):  # exp(-x) of a large negative x is inf, and x / inf is 0: right
                return np.divide(values, 1.0 + np.exp(-values), out=values)


def layers(spec: NetworkSpec, weights: Mapping[str, Single]) -> list[tuple[Floats, Floats]]:
    """Weight, of shape (in, out) and contiguous, and bias of each layer, in float64."""
    return [
        (
            np.ascontiguousarray(weights[f"layers.{layer}.weight"].T, dtype=np.float64),
            weights[f"layers.{layer}.bias"].astype(np.float64),
        )
        for layer in range(len(spec.hidden) + 1)
    ]


def forward(spec: NetworkSpec, weights: Mapping[str, Single], features: Single) -> Floats:
    """Raw outputs, float64 of shape (rows, outputs), for features of shape (rows, inputs).

    The weights are float32, the arithmetic is float64. In float32 a sum depends on the shape of the batch in its
    seventh digit; scaling the target back makes that any digit of a prediction that is near zero, and predictions would
    not be equal (within rtol 1e-5) across batch sizes.
    """
    return run(layers(spec, weights), spec.activation, features)


def run(of: Sequence[tuple[Floats, Floats]], activation: Activation, features: Single) -> Floats:
    """`forward` for weights that were laid out before."""
    values = features.astype(np.float64)
    *hidden, (last_weight, last_bias) = of
    for weight, bias in hidden:
        values = values @ weight
        values += bias
        values = activate(values, activation)
    outputs = values @ last_weight
    outputs += last_bias
    return outputs
