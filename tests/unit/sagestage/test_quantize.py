"""`sagestage quantize` on real archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.contract import artifact
from inference.contract.quantisation import expand, shrink
from inference.contract.schema import Task
from inference.model import load
from inference.settings import Settings
from sagestage.errors import SagestageError
from sagestage.quantize import quantize
from tests.inference_support import artifacts


def data(of: Any, model: Any, path: Path, noise: float = 0.0) -> Path:
    """Rows whose target is what the model says, with noise."""
    if of.history or any(column.name == "when" for column in of.table.columns):
        rows = [artifacts.record(number) for number in range(400)]
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        answers = artifacts.answer(model, rows)
    else:
        rows = artifacts.instances(of, 400)
        columns = {name: [row[place] for row in rows] for place, name in enumerate(c.name for c in of.table.inputs)}
        answers = artifacts.answer(model, rows)
    target = (
        answers.values + np.random.default_rng(0).normal(size=400) * noise if answers.labels is None else answers.labels
    )
    pq.write_table(pa.table(columns | {of.table.target: list(target)}), path)
    return path


def test_a_large_model_becomes_70_percent_smaller_and_still_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = artifacts.plain_transform(16)
    model = artifacts.make(of, hidden=(256, 192))
    artifacts.pack(model, tmp_path / "model.tar.gz")
    quantize(tmp_path / "model.tar.gz", data(of, model, tmp_path / "t.parquet", 0.3), tmp_path / "q.tar.gz",
             tolerance=0.01, as_json=False)  # fmt: skip
    shown = capsys.readouterr().out
    assert "r2" in shown
    assert "Advice" not in shown
    artifact.unpack(tmp_path / "model.tar.gz", tmp_path / "old")
    artifact.unpack(tmp_path / "q.tar.gz", tmp_path / "new")
    sizes = [(tmp_path / name / artifact.WEIGHTS).stat().st_size for name in ("old", "new")]
    assert sizes[1] <= 0.30 * sizes[0]
    served = load(tmp_path / "q.tar.gz", Settings(predictor="numpy"))
    served.verify()
    assert served.artifact.manifest.quantisation == "int8"


def test_a_small_model_is_advised_against(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = artifacts.transform(Task.CLASSIFICATION)
    model = artifacts.make(of)
    artifacts.pack(model, tmp_path / "model.tar.gz")
    quantize(tmp_path / "model.tar.gz", data(of, model, tmp_path / "t.parquet"), tmp_path / "q.tar.gz",
             tolerance=0.2, as_json=False)  # fmt: skip
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "Advice: not worth it" in shown


def test_a_model_that_gets_worse_is_refused_and_not_written(tmp_path: Path) -> None:
    of = artifacts.plain_transform(16)
    model = artifacts.make(of)
    artifacts.pack(model, tmp_path / "model.tar.gz")
    with pytest.raises(SagestageError, match="r2 falls from 1"):
        quantize(tmp_path / "model.tar.gz", data(of, model, tmp_path / "t.parquet"), tmp_path / "q.tar.gz",
                 tolerance=0.0, as_json=False)  # fmt: skip
    assert not (tmp_path / "q.tar.gz").exists()


def test_what_is_quantised_already_is_refused(tmp_path: Path) -> None:
    of = artifacts.plain_transform(16)
    model = artifacts.make(of)
    artifacts.pack(model, tmp_path / "model.tar.gz")
    table = data(of, model, tmp_path / "t.parquet", 0.3)
    quantize(tmp_path / "model.tar.gz", table, tmp_path / "q.tar.gz", tolerance=0.1, as_json=True)
    with pytest.raises(SagestageError, match="quantised already"):
        quantize(tmp_path / "q.tar.gz", table, tmp_path / "r.tar.gz", tolerance=0.1, as_json=True)


def test_no_weight_moves_by_more_than_half_a_step() -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32), "b": np.ones(20, np.float32)}
    weights["w"][3] = 0.0
    back = expand(shrink(weights))
    steps = np.abs(weights["w"]).max(axis=1, keepdims=True) / 127
    assert (np.abs(back["w"] - weights["w"]) <= steps / 2 + 1e-7).all()
    np.testing.assert_array_equal(back["b"], weights["b"])
