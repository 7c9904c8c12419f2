"""The container's entry point and the plain options, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from training import demo
from training.__main__ import main
from training.config import TrainConfig
from training.events import OnEvent
from training.gate import judge

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, base: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"SAGESTAGE_BASE_DIR": str(base)} if base else {})}
    command = [sys.executable, "-m", "training", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def container(base: Path, **hyperparameters: str) -> Path:
    (base / "input/config").mkdir(parents=True)
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    demo.write(base / "input/data/training/demand.csv", rows=1_500)
    return base


def test_a_container_that_misses_its_gate_says_so_and_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = container(tmp_path, target="demand", order="timestamp", gates="r2>=0.9999")

    def poor(config: TrainConfig, _on_event: OnEvent, _joined: object = None) -> SimpleNamespace:
        verdict = judge(config.gates, {"r2": 0.5})
        report = tmp_path / "made.html"
        report.write_text("a page")
        evaluation = SimpleNamespace(intervals={}, baselines=())
        return SimpleNamespace(
            report=report,
            evaluation=evaluation,
            artifact=None,
            metrics={"r2": 0.5},
            verdict=verdict,
            rows={},
            epochs=1,
            best_epoch=1,
            warnings=(),
        )

    monkeypatch.setenv("SAGESTAGE_BASE_DIR", str(base))
    monkeypatch.setattr("training.run.train", poor)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["train"]) == 3
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert (base / "output/failure").read_text() == "gate: r2>=0.9999 missed: 0.5"
    assert "r2>=0.9999 missed" in capsys.readouterr().err
    assert not (base / "model").exists()
    assert (base / "output/data/report.html").read_text() == "a page"


def test_a_container_that_fails_says_why_in_its_failure_file(tmp_path: Path) -> None:
    base = container(tmp_path, target="demnad")
    done = run("train", base=base)
    assert done.returncode == 1
    assert "target names 'demnad'" in (base / "output/failure").read_text()
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (base / "model").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--data", "none.csv", "--target", "y"), "none.csv: no such file"),
        (("--target", "y"), "data is missing: say --data"),
        (("--data", "none.csv", "--target", "y", "--gates", "r2=1"), "gate 'r2=1' is not of the form"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(options: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    done = run("train", *options, "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_shows_an_example() -> None:
    done = run("train", "--help")
    assert done.returncode == 0
    assert "example:" in done.stdout
