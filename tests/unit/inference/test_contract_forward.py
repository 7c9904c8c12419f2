"""Two predictions are equal within rtol 1e-5 and atol 1e-6, whatever the batch: also where the target is scaled far."""

from __future__ import annotations

import numpy as np
import pytest

from inference.contract.artifact import Tolerance
from inference.contract.network import Activation, NetworkSpec, forward
from inference.contract.predictions import Predictions
from tests.inference_support import artifacts

TORCH = pytest.importorskip("inference.predictors.torch", reason="torch is not installed")


@pytest.mark.parametrize("activation", list(Activation))
def test_predictions_near_zero_are_equal_alone_batched_and_by_torch(activation: Activation) -> None:
    spec = NetworkSpec(inputs=24, hidden=(128, 64, 32), outputs=1, activation=activation)
    weights = artifacts.weights(spec, seed=3)
    features = np.random.default_rng(0).normal(size=(513, 24)).astype(np.float32)
    outputs = forward(spec, weights, features)
    far = artifacts.plain_transform(24).model_copy(
        update={"target_std": 1e4, "target_mean": -1e4 * float(np.median(outputs))}
    )
    together = Predictions.of(far, outputs).values
    alone = np.concatenate([Predictions.of(far, forward(spec, weights, row[None])).values for row in features])
    torch = Predictions.of(far, TORCH.load(spec, weights, device="cpu")(features)).values
    assert np.abs(together).min() < 30  # some are near zero, where float32 would be wrong in every digit that counts
    assert Tolerance().equal(alone, together)
    assert Tolerance().equal(torch, together)
