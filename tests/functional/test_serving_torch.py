"""The same server with the torch predictor."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from inference.model import load
from inference.settings import Settings
from tests.inference_support import artifacts, servers

pytest.importorskip("torch", reason="torch is not installed")
from tests.inference_support import exported  # needs torch


@pytest.mark.slow
def test_torch_gives_the_answers_of_numpy(tmp_path: Path) -> None:
    made = artifacts.make(artifacts.transform())
    artifacts.pack(made, tmp_path / "model.tar.gz")
    instances = artifacts.instances(made.manifest.transform, 3_000)
    settings = {"SAGESTAGE_PREDICTOR": "torch", "SAGESTAGE_DEVICE": "cpu"}
    with servers.running(tmp_path / "model.tar.gz", tmp_path / "log", **settings) as server:
        answer = httpx.post(f"{server.url}/invocations", json={"instances": instances}, timeout=60).json()
        assert server.stop() == 0
    expected = artifacts.answer(made, instances).values
    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5, atol=1e-6)
    assert '"predictor":"torch cpu"' in server.log.read_text()


@pytest.mark.slow
def test_a_program_of_torch_export_is_served(tmp_path: Path) -> None:
    module = exported.Attention()
    exported.pack(tmp_path / "model.tar.gz", module, exported.export(module))
    golden = load(tmp_path / "model.tar.gz", Settings(device="cpu")).artifact.golden
    with servers.running(tmp_path / "model.tar.gz", tmp_path / "log", SAGESTAGE_DEVICE="cpu") as server:
        answer = httpx.post(f"{server.url}/invocations", json={"instances": golden.instances}, timeout=60).json()
        assert server.stop() == 0
    np.testing.assert_allclose(answer["predictions"], golden.predictions, rtol=1e-5, atol=1e-6)
    assert '"predictor":"export torch cpu"' in server.log.read_text()
