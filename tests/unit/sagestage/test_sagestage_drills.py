"""Broken models and the picture of a rollout."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from sagestage import drills
from sagestage.picture import bars


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    weights = save({"layer": np.arange(4, dtype=np.float32)})
    members = {
        "manifest.json": json.dumps({"files": {"weights.safetensors": "old"}}).encode(),
        "weights.safetensors": weights,
    }
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def content(path: Path, name: str) -> bytes:
    with tarfile.open(path) as tar:
        found = tar.extractfile(name)
        assert found is not None
        return found.read()


@pytest.mark.parametrize("kind", drills.KINDS, ids=lambda kind: kind.name)
def test_a_broken_model_is_another_model(archive: Path, kind: drills.Kind, tmp_path: Path) -> None:
    place, key = drills.broken(archive, kind, tmp_path / "kept")
    assert place == tmp_path / "kept" / key
    assert key.startswith(f"models/{kind.name}/")
    if kind.fault is None:
        changed = load(content(place, "weights.safetensors"))["layer"]
        assert changed.tolist() == [3, 2, 1, 0]
        assert json.loads(content(place, "manifest.json"))["files"]["weights.safetensors"] != "old"
    else:
        assert json.loads(content(place, "drill.json")) == kind.fault


def test_bars_grow_with_their_values() -> None:
    assert bars([0, 0.5, 1, None], 1.0) == "▁▅█ "
    assert bars([0, 0], 0.0) == "▁▁"
