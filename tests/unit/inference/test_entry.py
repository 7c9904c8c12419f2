"""A model of the user's own, computed by a Python function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.contract import artifact
from inference.contract.artifact import Artifact, Golden
from inference.contract.errors import ArtifactError
from inference.contract.network import NetworkSpec
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.errors import StartError
from inference.model import load
from inference.settings import Settings
from tests.inference_support import artifacts, forest

OF = artifacts.plain_transform(4)
FOREST = "tests.inference_support.forest"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    made = artifacts.make(OF)
    manifest = made.manifest.model_copy(
        update={"program": "python", "network": NetworkSpec(inputs=4, hidden=(), outputs=1)}
    )
    weights = {"thresholds": np.array([0.1, -0.2], dtype=np.float32)}
    compute = forest.load(Artifact(manifest, weights, made.golden))
    rows = artifacts.instances(OF, 8)
    features = OF.apply(RecordReader(OF).read(rows)).matrix
    golden = Golden(instances=rows, predictions=Predictions.of(OF, compute(features)).values.tolist())
    artifact.pack(tmp_path / "model.tar.gz", manifest, weights, golden, compute)
    return tmp_path / "model.tar.gz"


def test_it_serves_once_it_has_given_its_golden_answers(archive: Path) -> None:
    model = load(archive, Settings(entry=f"{FOREST}:load"))
    model.verify()
    answers = model.predict(model.read([[9.0, 9.0, 0.0, 0.0], [-9.0, 9.0, 0.0, 0.0]]))
    assert answers.values.tolist() == [2.0, 1.0]
    assert model.predictor.name == f"python {FOREST}:load"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (None, "SAGESTAGE_ENTRY=package.module:function"),
        ("no.such:load", "No module named"),
        (f"{FOREST}:nothing", "AttributeError"),
        (f"{FOREST}:broken", "no forest here"),
    ],
)
def test_code_that_cannot_be_used_is_one_line(archive: Path, entry: str | None, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        load(archive, Settings(entry=entry))
    assert "\n" not in str(caught.value)


def test_code_with_other_answers_never_serves(archive: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fails on the golden rows.*shape"):
        load(archive, Settings(entry=f"{FOREST}:flat")).verify()
