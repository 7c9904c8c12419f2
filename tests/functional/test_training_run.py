"""Real runs: Ray on loopback, workers in processes of their own, archives that serve what was measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from inference.contract import artifact
from inference.contract.network import NetworkSpec
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Task
from training import demo
from training.config import TrainConfig
from training.errors import TrainingError
from training.events import EpochFinished, Event, Stage, StageFinished
from training.gate import Gate
from training.loop import Job
from training.ray_train import PrivateRay
from training.run import Prepared, TrainResult, fit, fit_all, prepare

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def ray_processes(folder: Path) -> list[str]:
    """Live processes that have the folder in their arguments or environment, as all of Ray's have."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(line.decode(errors="replace")[:200])
    return found


def classes_file(path: Path) -> Path:
    random = np.random.Generator(np.random.PCG64(2))
    lines = ["x,z,colour,kind"]
    for x, z, shade in zip(random.normal(size=500), random.normal(size=500), random.integers(3, size=500), strict=True):
        kind = "abc"[int(x + z > 0.0) + int(x - z > 1.0)]
        lines.append(f"{x:.3f},{z:.3f},{('red', 'blue', '')[shade]},{kind}")
    path.write_text("\n".join(lines) + "\n")
    return path


def job(prepared: Prepared, *, epochs: int) -> Job:
    features = prepared.features
    return Job(
        features=features.table.folder,
        rows=features.table.rows,
        network=NetworkSpec(inputs=len(prepared.transform.feature_names), hidden=(16,), outputs=1),
        task=prepared.task,
        learning_rate=0.01,
        weight_decay=0.0,
        dropout=0.0,
        epochs=epochs,
        batch_size=64,
        patience=epochs,
        seed=0,
    )


@dataclass
class Session:
    champion: TrainResult
    challenger: TrainResult
    classes: TrainResult
    missed: TrainResult
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
            champion, challenger, missed = fit_all(prepared, [config, other, hard], cluster, events.append)
        with prepare(kinds) as prepared:
            classes = fit(prepared, kinds, cluster)
        assert ray_processes(cluster.folder), "Ray ran in processes of its own"
    return Session(champion, challenger, classes, missed, events, cluster.folder, data, output)


def test_a_private_ray_leaves_no_process_and_no_folder(session: Session) -> None:
    assert ray_processes(session.folder) == []
    assert not session.folder.exists()


def test_models_learn_and_pass_their_gates(session: Session) -> None:
    assert session.champion.verdict.passed
    assert session.challenger.verdict.passed
    assert session.champion.metrics.keys() == {"r2", "mae", "rmse"}
    assert session.champion.sha256 != session.challenger.sha256


def test_a_container_with_the_same_settings_and_seed_makes_the_same_model(session: Session, tmp_path: Path) -> None:
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/data/training").mkdir(parents=True)
    shutil.copy(session.data, tmp_path / "input/data/training")
    settings = {"target": demo.TARGET, "order": demo.ORDER[0], "name": "champion", "epochs": "25", "gates": "r2>=0.5"}
    (tmp_path / "input/config/hyperparameters.json").write_text(json.dumps(settings))
    environment = {**os.environ, "SAGESTAGE_BASE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "training", "train"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch=1 train_loss=" in done.stdout
    assert session.champion.artifact is not None
    artifact.unpack(session.champion.artifact, tmp_path / "champion")
    for member in artifact.MEMBERS:
        assert (tmp_path / "model" / member).read_bytes() == (tmp_path / "champion" / member).read_bytes()
    assert json.loads((tmp_path / "output/data/metrics.json").read_bytes())["gates"] == {"r2>=0.5": True}
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["data"]


def test_a_model_that_misses_its_gate_is_not_packaged(session: Session) -> None:
    assert not session.missed.verdict.passed
    assert session.missed.artifact is None
    assert session.missed.sha256 is None
    assert "r2>=0.9999 missed" in session.missed.verdict.reason
    assert sorted(path.name for path in session.output.iterdir()) == ["challenger", "champion", "kinds", "missed"]
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
    ]
    epochs = [(event.model, event.epoch) for event in session.events if isinstance(event, EpochFinished)]
    assert epochs == [
        (result.name, number)
        for result in (session.champion, session.challenger, session.missed)
        for number in range(1, result.epochs + 1)
    ]


def test_the_run_folder_is_gone(session: Session) -> None:
    assert not list(session.output.glob(".run-*"))


def test_two_workers_train_together_and_a_workers_failure_is_one_line(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two workers need two CPUs")
    data = demo.write(tmp_path / "demo.csv", rows=1_000)
    config = TrainConfig(data=data, target=demo.TARGET, order=demo.ORDER, output=tmp_path / "out", workers=2)
    heard: list[tuple[int, float]] = []
    with PrivateRay(2) as cluster, prepare(config) as prepared:
        good = job(prepared, epochs=4)
        bad = good.model_copy(update={"features": tmp_path / "gone"})
        with pytest.raises(TrainingError) as caught:
            cluster.fit(
                [good, bad],
                lambda number, epoch: heard.append((number, epoch.validation_loss)),
                folder=prepared.fit_folder(),
                restarts=0,
            )
    assert [number for number, _ in heard] == [0, 0, 0, 0]
    assert heard[-1][1] < heard[0][1]
    assert str(caught.value).startswith("worker 0 failed: ")
    assert "gone" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_of_another_preparation_are_refused(tmp_path: Path) -> None:
    data = demo.write(tmp_path / "demo.csv", rows=500)
    config = TrainConfig(data=data, target=demo.TARGET, order=demo.ORDER, output=tmp_path / "out")
    with prepare(config) as prepared:
        with pytest.raises(TrainingError, match="prepared with another lags"):
            fit(prepared, config.model_copy(update={"lags": (1,)}), PrivateRay())
        with pytest.raises(TrainingError, match="two models have one name"):
            fit_all(prepared, [config, config], PrivateRay())


def test_sigterm_ends_a_run_and_its_ray(tmp_path: Path) -> None:
    data = demo.write(tmp_path / "demo.csv", rows=500)
    command = [sys.executable, "-m", "training", "train", "--data", str(data), "--target", demo.TARGET]
    command += ["--epochs", "100000", "--patience", "100000", "--output", str(tmp_path / "out")]
    environment = {**os.environ, "SAGESTAGE_TEST_MARK": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch=3 ") for line in process.stdout), "training began"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 1
    deadline = time.monotonic() + 20.0
    while ray_processes(tmp_path) and time.monotonic() < deadline:  # the kernel may take a moment to bury the killed
        time.sleep(0.1)
    assert ray_processes(tmp_path) == []
    assert not (tmp_path / "out").exists()


class Run:
    """`python -m training train` with a checkpoint folder, slow enough to be hit between two epochs."""

    def __init__(self, folder: Path, output: str) -> None:
        data = folder / "demo.csv"
        if not data.exists():
            demo.write(data, rows=500)
        options = {
            "data": data, "target": demo.TARGET, "order": demo.ORDER[0], "batch-size": 2, "epochs": 12, "patience": 12,
            "checkpoint": folder / f"{output}-checkpoints", "output": folder / output,
        }  # fmt: skip
        command = [sys.executable, "-m", "training", "train"]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self.mark = f"{folder}/{output}-mark"
        environment = {**os.environ, "SAGESTAGE_TEST_MARK": self.mark}
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        self.epochs: list[int] = []

    def until(self, epoch: int) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("epoch="):
                self.epochs.append(int(line.partition(" ")[0].removeprefix("epoch=")))
                if self.epochs[-1] == epoch:
                    return
        raise AssertionError(f"ended after epochs {self.epochs}")

    def kill_worker(self) -> None:
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                try:
                    name, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
                except OSError:
                    continue
                if name.startswith(b"ray::") and b"TrainWorker" in name and self.mark.encode() in environment:
                    os.kill(int(place.name), signal.SIGKILL)
                    return
        raise AssertionError("no worker found")

    def finish(self) -> str:
        """The digest of the model."""
        text, _ = self.process.communicate()
        assert self.process.returncode == 0, text
        self.epochs += [int(found) for found in re.findall(r"^epoch=(\d+)", text, re.MULTILINE)]
        return next(line.split()[1] for line in text.splitlines() if line.startswith("sha256 "))


def test_a_killed_worker_and_a_terminated_run_lose_no_finished_epoch_and_end_with_one_model(tmp_path: Path) -> None:
    killed = Run(tmp_path, "killed")
    killed.until(3)
    killed.kill_worker()
    digest = killed.finish()
    assert killed.epochs == list(range(1, 13)), "the workers were started anew and went on"

    stopped = Run(tmp_path, "stopped")
    stopped.until(3)
    stopped.process.send_signal(signal.SIGTERM)
    stopped.process.communicate()
    assert stopped.process.returncode == 1
    assert not (tmp_path / "stopped").exists(), "nothing half-made"
    again = Run(tmp_path, "stopped")
    assert again.finish() == digest, "to the last bit what the other run made"
    assert again.epochs == list(range(1, 13)), "those of the checkpoint are told again"
