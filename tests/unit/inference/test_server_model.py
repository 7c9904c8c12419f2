from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference import predictors
from inference.contract.artifact import sha256, unpack
from inference.contract.errors import ArtifactError, InputError
from inference.contract.network import Activation, NetworkSpec
from inference.contract.schema import Task
from inference.errors import StartError
from inference.model import load
from inference.predictors.numpy import NumpyPredictor
from inference.settings import Settings
from tests.inference_support import artifacts

ON_NUMPY = Settings(predictor="numpy")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "model.tar.gz"
    artifacts.pack(artifacts.make(artifacts.transform()), path)
    return path


def test_the_version_is_the_archives_digest(archive: Path) -> None:
    assert load(archive, ON_NUMPY).version == sha256(archive)[:12]


def test_an_unpacked_model_takes_the_digest_that_the_deployment_names(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "model")
    digest = sha256(archive)
    assert load(tmp_path / "model", ON_NUMPY.model_copy(update={"model_sha256": digest})).version == digest[:12]
    assert load(tmp_path / "model", ON_NUMPY).version == sha256(tmp_path / "model" / "manifest.json")[:12]


def test_an_archive_other_than_the_one_named_is_refused(archive: Path) -> None:
    with pytest.raises(ArtifactError, match=f"{sha256(archive)}.*{'0' * 64}"):
        load(archive, ON_NUMPY.model_copy(update={"model_sha256": "0" * 64}))


def test_a_missing_model_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="--model"):
        load(tmp_path / "nothing", ON_NUMPY)


@pytest.mark.parametrize("task", list(Task))
def test_a_loaded_model_gives_the_offline_answers(tmp_path: Path, task: Task) -> None:
    made = artifacts.make(artifacts.transform(task))
    artifacts.pack(made, tmp_path / "model.tar.gz")
    model = load(tmp_path / "model.tar.gz", ON_NUMPY)
    model.verify()
    instances = artifacts.instances(made.manifest.transform, 20)
    actual, expected = model.predict(model.reader.read(instances)), artifacts.answer(made, instances)
    np.testing.assert_allclose(actual.values, expected.values, rtol=1e-5, atol=1e-6)
    assert actual.labels == expected.labels


def test_a_row_beyond_float32_is_refused_with_its_number(archive: Path) -> None:
    model = load(archive, ON_NUMPY)
    instances = artifacts.instances(model.artifact.manifest.transform, 3)
    instances[1]["row"]["wind"] = 1e300
    with pytest.raises(InputError, match="row 1: feature 'wind' is too large"):
        model.predict(model.reader.read(instances))
    instances[1]["row"]["wind"] = 1e37
    with pytest.raises(InputError, match="row 1"):
        model.predict(model.reader.read(instances))


def test_golden_answers_that_differ_are_told(archive: Path) -> None:
    model = load(archive, ON_NUMPY)
    wrong = {name: array + np.float32(0.1) for name, array in model.artifact.weights.items()}
    broken = type(model)(
        model.version, model.artifact, model.reader, NumpyPredictor(model.artifact.manifest.network, wrong)
    )
    with pytest.raises(ArtifactError, match=r"golden answers.*must not serve"):
        broken.verify()


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("hidden", [(), (7,), (5, 3)])
def test_the_numpy_predictor_is_the_contracts_forward_pass(activation: Activation, hidden: tuple[int, ...]) -> None:
    spec = NetworkSpec(inputs=4, hidden=hidden, outputs=2, activation=activation)
    weights = artifacts.weights(spec)
    features = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    kept = features.copy()
    from inference.contract.network import forward  # noqa: PLC0415  # beside what it is compared with

    np.testing.assert_allclose(NumpyPredictor(spec, weights)(features), forward(spec, weights, kept), rtol=1e-6)
    np.testing.assert_array_equal(features, kept)


def test_auto_takes_numpy_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictors, "gpu_present", lambda: False)
    spec = NetworkSpec(inputs=4, hidden=(3,), outputs=1)
    assert predictors.choose(spec, artifacts.weights(spec)).name == "numpy"


def test_numpy_on_a_gpu_is_refused() -> None:
    spec = NetworkSpec(inputs=4, hidden=(3,), outputs=1)
    with pytest.raises(StartError, match="take torch"):
        predictors.choose(spec, artifacts.weights(spec), kind="numpy", device="cuda")


def test_a_gpu_is_seen_in_the_file_system(tmp_path: Path) -> None:
    assert not predictors.gpu_present(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert predictors.gpu_present(tmp_path)
