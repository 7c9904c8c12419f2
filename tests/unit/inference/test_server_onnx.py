"""ONNX Runtime gives numpy's answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference import predictors
from inference.contract.network import Activation, NetworkSpec, forward
from inference.model import load
from inference.settings import Settings
from tests.inference_support import artifacts
from tests.inference_support.servers import ROOT

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("hidden", [(), (16,), (64, 32)])
def test_onnx_and_numpy_agree_for_every_batch_size(activation: Activation, hidden: tuple[int, ...]) -> None:
    spec = NetworkSpec(inputs=6, hidden=hidden, outputs=3, activation=activation)
    weights = artifacts.weights(spec)
    predictor = predictors.choose(spec, weights, kind="onnx")
    for rows in (1, 2, 33, 1000):
        features = np.random.default_rng(rows).normal(size=(rows, 6)).astype(np.float32)
        answers = predictor(features)
        assert answers.dtype == np.float64
        np.testing.assert_allclose(answers, forward(spec, weights, features), rtol=1e-9, atol=1e-12)


def test_a_model_gives_its_golden_answers_on_onnx_without_torch(tmp_path: Path) -> None:
    artifacts.pack(artifacts.make(artifacts.transform()), tmp_path / "model.tar.gz")
    load(tmp_path / "model.tar.gz", Settings(predictor="onnx")).verify()
    program = "import sys, inference.predictors.onnx; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"
