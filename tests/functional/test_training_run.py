"""Real runs: Ray on loopback, workers in processes of their own, archives that serve what was measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.contract import artifact
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Task
from tests.training_support.rays import processes
from training import checkpoint, demo
from training.config import TrainConfig
from training.errors import TrainingError
from training.events import EpochFinished, Event, Stage, StageFinished
from training.gate import Gate
from training.ray_train import PrivateRay
from training.run import TrainResult, fit, fit_all, prepare

ROOT = Path(__file__).resolve().parents[2]
STEADY = {
    "target": demo.TARGET, "order": demo.ORDER[0], "name": "steady", "epochs": "12", "patience": "12",
    "batch_size": "4", "gates": "r2>=0.5",
}  # fmt: skip
"""Settings of a run whose epochs take long enough to be hit between two of them."""
pytestmark = pytest.mark.slow


def classes_file(path: Path) -> Path:
    random = np.random.Generator(np.random.PCG64(2))
    lines = ["x,z,colour,kind"]
    for x, z, shade in zip(random.normal(size=500), random.normal(size=500), random.integers(3, size=500), strict=True):
        kind = "abc"[int(x + z > 0.0) + int(x - z > 1.0)]
        lines.append(f"{x:.3f},{z:.3f},{('red', 'blue', '')[shade]},{kind}")
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Session:
    champion: TrainResult
    challenger: TrainResult
    classes: TrainResult
    missed: TrainResult
    steady: TrainResult
    events: list[Event]
    folder: Path
    data: Path
    output: Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Several fits in one Ray: what each test looks at."""
    place = tmp_path_factory.mktemp("runs")
    output = place / "out"
    data = demo.write(place / "demo.csv", rows=2_000)
    config = TrainConfig(
        data=data, target=demo.TARGET, order=demo.ORDER, name="champion", output=output, epochs=25, gates=("r2>=0.5",)
    )
    other = config.model_copy(update={"name": "challenger", "hidden": (32, 16), "dropout": 0.05})
    hard = config.model_copy(update={"name": "missed", "epochs": 1, "gates": (Gate.parse("r2>=0.9999"),)})
    slow = TrainConfig.model_validate({**STEADY, "data": data, "output": output})
    kinds = TrainConfig(
        data=classes_file(place / "kinds.csv"),
        target="kind",
        name="kinds",
        output=output,
        batch_size=32,
        epochs=40,
        gates=("accuracy>=0.8", "auc>=0.9"),
    )
    events: list[Event] = []
    with PrivateRay() as cluster:
        with prepare(config, events.append) as prepared:
            champion, challenger, missed, steady = fit_all(
                prepared, [config, other, hard, slow], cluster, events.append
            )
        with prepare(kinds) as prepared:
            classes = fit(prepared, kinds, cluster)
        assert processes(str(cluster.folder)), "Ray ran in processes of its own"
    return Session(champion, challenger, classes, missed, steady, events, cluster.folder, data, output)


def test_a_private_ray_leaves_no_process_and_no_folder(session: Session) -> None:
    assert processes(str(session.folder)) == {}
    assert not session.folder.exists()


def test_models_learn_and_pass_their_gates(session: Session) -> None:
    assert session.champion.verdict.passed
    assert session.challenger.verdict.passed
    assert session.champion.metrics.keys() == {"r2", "mae", "rmse"}
    assert session.champion.sha256 != session.challenger.sha256


def test_a_model_that_misses_its_gate_is_not_packaged(session: Session) -> None:
    assert not session.missed.verdict.passed
    assert session.missed.artifact is None
    assert session.missed.sha256 is None
    assert "r2>=0.9999 missed" in session.missed.verdict.reason
    assert sorted(path.name for path in session.output.iterdir()) == [
        "challenger",
        "champion",
        "kinds",
        "missed",
        "steady",
    ]
    assert [path.name for path in (session.output / "missed").iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["champion", "classes", "missed"])
def test_the_report_tells_of_the_run_and_loads_nothing(session: Session, name: str) -> None:
    result: TrainResult = getattr(session, name)
    text = result.report.read_text()
    ET.fromstring(re.sub(r"<!doctype html>|<meta[^>]*>", "", text))  # noqa: S314  # our own page: its tags are closed
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", text)
    assert ("gate passed" in text) is result.verdict.passed
    for words in ("On the test rows", "gradient boosting", "What it relies on", "By segment", "The data"):
        assert words in text


def test_the_evaluation_has_intervals_around_the_metrics_and_beats_saying_the_last_value(session: Session) -> None:
    found = session.champion.evaluation
    assert found.drawn == "30 rows a block", "the longest lag"
    for name, interval in found.intervals.items():
        assert interval.low < found.metrics[name] < interval.high
    naive, boosting = found.baselines
    assert naive.gain_interval is not None
    assert naive.gain_interval.low > 0.0
    assert boosting.metrics["r2"] > naive.metrics["r2"]
    assert found.importances[0].growth > 0.5
    kinds = session.classes.evaluation
    assert kinds.drawn == "1 rows a block"
    assert kinds.calibration_error < 0.1
    assert kinds.metrics["log_loss"] < 0.4, "calibration on few rows does not make it certain"
    assert {rival.name for rival in kinds.baselines} == {"naive", "gradient boosting"}


@pytest.mark.parametrize("name", ["champion", "classes"])
def test_the_archive_answers_held_out_rows_as_predicted_offline(session: Session, name: str, tmp_path: Path) -> None:
    result: TrainResult = getattr(session, name)
    assert result.artifact is not None
    assert artifact.sha256(result.artifact) == result.sha256
    artifact.unpack(result.artifact, tmp_path)
    model = artifact.load_directory(tmp_path)
    artifact.replay(model)
    assert len(model.golden.instances) == 16
    numbers = range(0, len(result.held_out), 7)
    rows = RecordReader(model.manifest.transform).read(list(result.held_out.instances(numbers)))
    made = model.manifest.transform.apply(rows)
    assert made.complete.all()
    answers = Predictions.of(model.manifest.transform, model.forward(made.matrix))
    tolerance = model.manifest.tolerance
    assert tolerance.equal(answers.values, result.predictions.values[list(numbers)])
    if result.task is Task.CLASSIFICATION:
        assert result.predictions.probabilities is not None
        assert tolerance.equal(answers.probabilities, result.predictions.probabilities[list(numbers)])


def test_text_classes_are_named_in_the_answers(session: Session) -> None:
    assert session.classes.task is Task.CLASSIFICATION
    assert session.classes.transform.classes == ("a", "b", "c")
    assert session.classes.predictions.labels is not None
    assert set(session.classes.predictions.labels) == {"a", "b", "c"}
    assert session.classes.verdict.passed, session.classes.verdict.reason


def test_the_manifest_says_what_the_model_saw(session: Session, tmp_path: Path) -> None:
    assert session.champion.artifact is not None
    artifact.unpack(session.champion.artifact, tmp_path)
    manifest = artifact.load_directory(tmp_path).manifest
    assert manifest.rows == {"train": 1_400, "validation": 300, "test": 300}
    assert manifest.trained_until == "2024-06-10T19:00:00"
    assert manifest.metrics == session.champion.metrics
    assert {"numpy", "ray", "torch"} <= manifest.versions.keys()


def test_events_tell_every_stage_and_epoch(session: Session) -> None:
    stages = [(event.stage, event.model) for event in session.events if isinstance(event, StageFinished)]
    assert stages == [
        (Stage.DATA, ""),
        (Stage.FIT, ""),
        (Stage.TRAIN, ""),
        (Stage.GATE, "champion"),
        (Stage.PACKAGE, "champion"),
        (Stage.GATE, "challenger"),
        (Stage.PACKAGE, "challenger"),
        (Stage.GATE, "missed"),
        (Stage.GATE, "steady"),
        (Stage.PACKAGE, "steady"),
    ]
    epochs = [(event.model, event.epoch) for event in session.events if isinstance(event, EpochFinished)]
    assert epochs == [
        (result.name, number)
        for result in (session.champion, session.challenger, session.missed, session.steady)
        for number in range(1, result.epochs + 1)
    ]


def test_the_run_folder_is_gone(session: Session) -> None:
    assert not list(session.output.glob(".run-*"))


def test_data_of_another_preparation_are_refused(tmp_path: Path) -> None:
    data = demo.write(tmp_path / "demo.csv", rows=500)
    config = TrainConfig(data=data, target=demo.TARGET, order=demo.ORDER, output=tmp_path / "out")
    with prepare(config) as prepared:
        with pytest.raises(TrainingError, match="prepared with another lags"):
            fit(prepared, config.model_copy(update={"lags": (1,)}), PrivateRay())
        with pytest.raises(TrainingError, match="two models have one name"):
            fit_all(prepared, [config, config], PrivateRay())


class Container:
    """A training container with a folder for checkpoints."""

    def __init__(self, base: Path, settings: Mapping[str, str], data: Path) -> None:
        for folder in ("input/config", "input/data/training", "checkpoints"):
            (base / folder).mkdir(parents=True)
        shutil.copy(data, base / "input/data/training")
        (base / "input/config/hyperparameters.json").write_text(json.dumps(settings))
        self.base, self.mark = base, f"SAGESTAGE_TEST_MARK={base}"

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "training", "train"],
            cwd=ROOT,
            env={**os.environ, "SAGESTAGE_BASE_DIR": str(self.base), "SAGESTAGE_TEST_MARK": str(self.base)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def output(self) -> list[str]:
        return sorted(str(path.relative_to(self.base)) for path in (self.base / "output").rglob("*") if path.is_file())


def test_a_terminated_run_leaves_nothing_and_the_next_goes_on_to_the_model_of_a_run_without_interruption(
    session: Session, tmp_path: Path
) -> None:
    container = Container(tmp_path / "base", STEADY, session.data)
    with container.start() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(line.startswith("epoch=2 ") for line in process.stdout), process.stderr.read()
        process.send_signal(signal.SIGTERM)
        later, said = process.communicate()
        assert process.returncode == 1
    assert "Traceback" not in said
    assert f"epoch={STEADY['epochs']} " not in later
    assert container.output() == ["output/failure"]
    assert (container.base / "output/failure").read_text() == "terminated by SIGTERM"
    assert not (container.base / "model").exists()
    assert processes(container.mark) == {}
    (kept,) = (container.base / "checkpoints").iterdir()
    (container.base / "output/failure").unlink()
    before = len(checkpoint.read(str(kept)).figures["epochs"])  # type: ignore[union-attr]
    assert before < int(STEADY["epochs"])

    with container.start() as process:
        text, said = process.communicate()
        assert process.returncode == 0, said
    epochs = re.findall(r"^epoch=(\d+) train_loss=", text, re.MULTILINE)
    assert epochs == [str(number + 1) for number in range(int(STEADY["epochs"]))], "those before are told again"
    assert session.steady.artifact is not None
    artifact.unpack(session.steady.artifact, tmp_path / "whole")
    for member in artifact.MEMBERS:
        assert (container.base / "model" / member).read_bytes() == (tmp_path / "whole" / member).read_bytes()
    assert json.loads((container.base / "output/data/metrics.json").read_bytes())["gates"] == {"r2>=0.5": True}
    assert {Path(name).parent for name in container.output()} == {Path("output/data")}
