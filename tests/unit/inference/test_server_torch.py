from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from inference import predictors
from inference.contract.network import Activation, NetworkSpec, forward
from inference.errors import StartError
from inference.predictors import Autocast
from tests.inference_support import artifacts

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("activation", list(Activation))
def test_torch_and_numpy_agree(activation: Activation) -> None:
    spec = NetworkSpec(inputs=6, hidden=(16, 8), outputs=3, activation=activation)
    weights = artifacts.weights(spec)
    features = np.random.default_rng(1).normal(size=(33, 6)).astype(np.float32)
    predictor = predictors.choose(spec, weights, kind="torch", device="cpu")
    np.testing.assert_allclose(predictor(features), forward(spec, weights, features), rtol=1e-5, atol=1e-6)


def test_a_built_module_has_the_contracts_names_and_shapes() -> None:
    from inference.predictors.torch import build  # noqa: PLC0415  # torch takes seconds

    spec = NetworkSpec(inputs=6, hidden=(16, 8), outputs=3)
    assert {name: tuple(tensor.shape) for name, tensor in build(spec).state_dict().items()} == spec.shapes


def test_cuda_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    spec = NetworkSpec(inputs=6, hidden=(), outputs=1)
    with pytest.raises(StartError, match="SAGESTAGE_DEVICE=cpu"):
        predictors.choose(spec, artifacts.weights(spec), kind="torch", device="cuda")


def test_autocast_on_cpu_computes_in_bfloat16() -> None:
    spec = NetworkSpec(inputs=6, hidden=(16,), outputs=1)
    weights = artifacts.weights(spec)
    features = np.random.default_rng(1).normal(size=(33, 6)).astype(np.float32)
    rough = predictors.choose(spec, weights, kind="torch", device="cpu", autocast="bf16")(features)
    exact = forward(spec, weights, features)
    assert rough.dtype == np.float64
    assert not np.allclose(rough, exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rough, exact, atol=0.1)


def test_a_gpu_gives_the_same_answers() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    spec = NetworkSpec(inputs=6, hidden=(16, 8), outputs=3)
    weights = artifacts.weights(spec)
    features = np.random.default_rng(1).normal(size=(33, 6)).astype(np.float32)
    predictor = predictors.choose(spec, weights)
    assert predictor.name == "torch cuda"
    np.testing.assert_allclose(predictor(features), forward(spec, weights, features), rtol=1e-4, atol=1e-5)


def test_batches_of_two_threads_do_not_mix_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here: two batches at a time are copied and computed on two streams")
    spec = NetworkSpec(inputs=6, hidden=(512, 512), outputs=3)
    weights = artifacts.weights(spec)
    predictor = predictors.choose(spec, weights)
    assert predictor.lanes == 2
    generator = np.random.default_rng(1)
    batches = [generator.normal(size=(size, 6)).astype(np.float32) for size in (1, 4096, 7, 1024) * 20]
    with ThreadPoolExecutor(predictor.lanes) as threads:
        answers = list(threads.map(predictor, batches))
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, forward(spec, weights, batch), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("autocast", ["bf16", "fp16"])
def test_autocast_on_a_gpu_is_near(autocast: Autocast) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    spec = NetworkSpec(inputs=6, hidden=(64,), outputs=1)
    weights = artifacts.weights(spec)
    features = np.random.default_rng(1).normal(size=(33, 6)).astype(np.float32)
    rough = predictors.choose(spec, weights, device="cuda", autocast=autocast)(features)
    np.testing.assert_allclose(rough, forward(spec, weights, features), atol=0.1)
