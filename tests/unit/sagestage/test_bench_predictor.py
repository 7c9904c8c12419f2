"""`sagestage bench predictor`: which predictor is fastest here."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagestage import predictors
from tests.inference_support import artifacts


def test_predictors_are_timed_and_those_that_cannot_serve_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.pack(artifacts.make(artifacts.plain_transform(4)), tmp_path / "model.tar.gz")
    monkeypatch.setattr(predictors, "KINDS", ("numpy", "onnx"))  # torch takes seconds, compiling a minute
    figures = predictors.measure(tmp_path / "model.tar.gz", 2)
    assert [one.kind for one in figures] == ["numpy", "onnx"]
    for one in figures:
        assert len(one.seconds) == len(predictors.ROWS) or one.reason is not None
    assert all(second > 0 for second in figures[0].seconds)


def test_a_program_has_one_way_to_be_computed(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from tests.inference_support import exported  # noqa: PLC0415  # needs torch

    module = exported.Attention()
    exported.pack(tmp_path / "model.tar.gz", module, exported.export(module))
    (figure,) = predictors.measure(tmp_path / "model.tar.gz", 2)
    assert (figure.kind, len(figure.seconds)) == ("export", len(predictors.ROWS))
