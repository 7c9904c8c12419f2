"""A run: data, fit, training, gate, package; or several models on the same prepared data and one Ray.

with started(champion) as (prepared, cluster):
    results = fit_all(prepared, [champion, challenger], cluster)
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.contract import artifact
from inference.contract.artifact import Golden, Manifest
from inference.contract.errors import ContractError
from inference.contract.network import NetworkSpec, Single, forward
from inference.contract.predictions import Predictions
from inference.contract.schema import Floats, Rows, Task
from inference.contract.transform import Transform
from training import baselines, calibrate, champion, drift_series, evaluate, features, gate, report, storage, tune
from training import dataset as data
from training.assess import Evaluation, assess
from training.baselines import Baseline
from training.champion import Duel
from training.cluster import tasks
from training.config import TrainConfig
from training.dataset import Part
from training.errors import DataError, TrainingError
from training.events import EpochFinished, OnEvent, Stage, Stages, TrialAdvanced, ignore
from training.features import Counts, LeftOut
from training.gate import Verdict
from training.heldout import HeldOut
from training.hosts import Joined
from training.package import golden, versions
from training.prepared import Prepared, prepare
from training.quality import Quality
from training.ray_train import PrivateRay, Trained
from training.tune import Rung, Study

if TYPE_CHECKING:
    from training.loop import Job

__all__ = ["Prepared", "TrainResult", "fit", "fit_all", "prepare", "train", "tuned"]

_HYPERPARAMETERS = (
    "learning_rate", "weight_decay", "dropout", "epochs", "batch_size", "patience", "seed", "precision",
    "checkpoint_minutes",
)  # fmt: skip
HELD_OUT_ROWS = 2_000
"""Test rows that a result keeps in memory, to send to an endpoint."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the workers made, and the losses that were heard of on the way."""

    trained: Trained
    losses: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class TrainResult:
    """What a run made.

    Attributes:
        config: the settings of the run.
        artifact: the archive; None when the gate was missed: then nothing may be deployed, and nothing was packaged.
        sha256: its digest, 64 hex digits; None likewise.
        metrics: on the test rows, by the names of `inference.contract.metrics`.
        verdict: what the gates said.
        rows: of each part.
        left_out: training and validation rows that did not enter the loss, with the reasons.
        counts: values changed, by column, over all rows.
        warnings: what is odd about the data, in sentences.
        epochs, best_epoch: epochs run, and the one (from 1) whose weights were kept.
        losses: the mean loss of each epoch, on training and on validation rows.
        evaluation: the thorough look at the test rows.
        quality: the look at the data before training.
        report: report.html.
        seconds: by stage; data and fit are shared by the models of one preparation, train is without Ray's start.
        held_out: test rows as JSON instances.
        predictions: the offline predictions for `held_out`, row by row.
    """

    config: TrainConfig
    transform: Transform
    artifact: Path | None
    sha256: str | None
    metrics: dict[str, float]
    verdict: Verdict
    rows: dict[str, int]
    left_out: dict[str, LeftOut]
    counts: dict[str, Counts]
    warnings: tuple[str, ...]
    epochs: int
    best_epoch: int
    losses: tuple[tuple[float, float], ...]
    evaluation: Evaluation
    quality: Quality
    report: Path
    seconds: dict[str, float]
    held_out: HeldOut
    predictions: Predictions

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.name

    @property
    def task(self) -> Task:
        """What the model predicts."""
        return self.transform.table.task

    @property
    def key(self) -> str | None:
        """The object key that the archive has everywhere."""
        return None if self.sha256 is None else artifact.key(self.name, self.sha256)


def fit(prepared: Prepared, config: TrainConfig, cluster: PrivateRay, on_event: OnEvent = ignore) -> TrainResult:
    """`fit_all` of one model."""
    return fit_all(prepared, [config], cluster, on_event)[0]


def fit_all(
    prepared: Prepared, configs: Sequence[TrainConfig], cluster: PrivateRay, on_event: OnEvent = ignore
) -> list[TrainResult]:
    """Stage train for all models, then gate and package for each, on prepared data.

    Raises:
        ConfigError: a gate is on a metric that the task does not have.
        TrainingError: the settings ask for other data than were prepared, two models have one name, or training failed.
    """
    _check(prepared, configs)
    networks = [_network(prepared, config) for config in configs]
    duels = [None if config.champion is None else champion.challenge(prepared, config.champion) for config in configs]
    with ThreadPoolExecutor(1, "baselines") as beside:
        rivals = beside.submit(_rivals, prepared, cluster)  # this process waits for Ray's workers meanwhile
        models = _train(prepared, configs, networks, cluster, on_event)
        return [
            _finish(prepared, config, network, learnt, rivals.result(), duel, on_event)
            for config, network, learnt, duel in zip(configs, networks, models, duels, strict=True)
        ]


def train(config: TrainConfig, on_event: OnEvent = ignore, joined: Joined | None = None) -> TrainResult:
    """One model, from the file to the archive; with the help of other hosts where they have joined.

    Raises:
        TrainingError: one line with what is wrong and what to do about it.
    """
    data.check(config)  # at once, before Ray starts
    with started(config, on_event, joined) as (prepared, ray):
        return fit(prepared, tuned(prepared, config, on_event), ray, on_event)


@contextmanager
def started(
    config: TrainConfig, on_event: OnEvent = ignore, joined: Joined | None = None
) -> Iterator[tuple[Prepared, PrivateRay]]:
    """Prepared data, and the Ray that started meanwhile. Ray ends before the run folder goes: its workers write there.

    Raises:
        TrainingError: one line with what is wrong and what to do about it.
    """
    with ExitStack() as folder, PrivateRay(config.workers, use_gpu=config.use_gpu, joined=joined) as ray:
        if joined is not None:
            ray.ready()
        yield folder.enter_context(prepare(config, on_event, None if joined is None else tasks(joined))), ray


def _rivals(prepared: Prepared, cluster: PrivateRay) -> tuple[baselines.Baseline, ...]:
    cluster.imported()
    return baselines.fit(prepared)


def tuned(prepared: Prepared, config: TrainConfig, on_event: OnEvent = ignore) -> TrainConfig:
    """Stage tune: the settings of the best trial on the validation rows; the same settings where none is asked for.

    Raises:
        TrainingError: no trial ended well.
    """
    if config.tune < 2:  # a single trial would be the run itself
        return config
    with Stages(on_event, config.name).stage(Stage.TUNE) as stage:
        stage.at(f"{config.tune} trials")
        drawn = tune.sample(config.tune, config.seed)
        place = None if config.checkpoint is None else f"{config.checkpoint.rstrip('/')}/trials"
        configs = [config.model_copy(update={**one, "checkpoint": place}) for one in drawn]
        folder = prepared.fit_folder()
        folder.mkdir()
        networks = [_network(prepared, one) for one in configs]
        jobs = [
            _job(prepared, one, network, _checkpoint(prepared, one, network, folder / f"trial-{number}"))
            for number, (one, network) in enumerate(zip(configs, networks, strict=True))
        ]
        record = None if config.checkpoint is None else f"{jobs[0].checkpoint}.study.json"

        def tell(at: Rung, study: Study) -> None:
            leader = study.leader()
            best = math.inf if leader is None else leader[1]
            settings = " ".join(f"{name}={value}" for name, value in drawn[at.trial].items()) or "(as given)"
            on_event(TrialAdvanced(config.name, at.trial, config.tune, at.epochs, at.loss, best, settings))
            done = len({trial for trial, _ in study.results})
            stage.at(f"{done} of {config.tune} trials, best loss {best:.4f}", done / config.tune)

        number, loss = tune.search(jobs, record, tell).best()
        chosen = ", ".join(f"{name} {value}" for name, value in drawn[number].items()) or "the settings as given"
        stage.summary = f"trial {number} of {config.tune} was best, validation loss {loss:.4f}: {chosen}"
    return config.model_copy(update=drawn[number])


def _network(prepared: Prepared, config: TrainConfig) -> NetworkSpec:
    return NetworkSpec(
        inputs=len(prepared.transform.feature_names),
        hidden=config.hidden,
        outputs=max(len(prepared.transform.classes), 1),
        activation=config.activation,
    )


def _check(prepared: Prepared, configs: Sequence[TrainConfig]) -> None:
    theirs = prepared.config.preparation()
    for config in configs:
        if odd := [name for name, value in config.preparation().items() if value != theirs[name]]:
            raise TrainingError(
                f"{config.name}: the data were prepared with another {', '.join(odd)}: prepare them again"
            )
        gate.check_task(config.gates, prepared.task)
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise TrainingError(f"two models have one name: {', '.join(names)}: name each of them")


def _train(
    prepared: Prepared,
    configs: Sequence[TrainConfig],
    networks: Sequence[NetworkSpec],
    cluster: PrivateRay,
    on_event: OnEvent,
) -> list[Learnt]:
    heard: list[list[tuple[float, float]]] = [[] for _ in configs]
    with Stages(on_event).stage(Stage.TRAIN) as stage:
        stage.at("starting Ray")
        cluster.ready()
        from training.loop import Epoch  # noqa: PLC0415  # imports torch, as Ray Train has by now

        def tell(number: int, epoch: Epoch) -> None:
            losses = epoch.train_loss, epoch.validation_loss
            if epoch.number <= len(heard[number]):
                return  # workers that were started anew tell of the epochs in their checkpoint
            heard[number].append(losses)
            on_event(EpochFinished(configs[number].name, epoch.number, configs[number].epochs, *losses))

        stage.at("starting workers")
        folder = prepared.fit_folder()
        jobs = [
            _job(prepared, config, network, _checkpoint(prepared, config, network, folder))
            for config, network in zip(configs, networks, strict=True)
        ]
        models = cluster.fit(jobs, tell, folder=folder)
        stage.summary = "; ".join(
            f"{config.name} {trained.epochs} epochs, the best was {trained.best}"
            for config, trained in zip(configs, models, strict=True)
        )
    return [Learnt(trained, tuple(losses)) for trained, losses in zip(models, heard, strict=True)]


def _job(prepared: Prepared, config: TrainConfig, network: NetworkSpec, checkpoint: str) -> Job:
    from training.loop import Job  # noqa: PLC0415  # imports torch

    files = prepared.features
    return Job(
        checkpoint=checkpoint,
        features=files.table.folder,
        rows=files.table.rows,
        network=network,
        task=prepared.task,
        **config.model_dump(include=set(_HYPERPARAMETERS)),
    )


def _checkpoint(prepared: Prepared, config: TrainConfig, network: NetworkSpec, folder: Path) -> str:
    """Where to go on from. In a place of the user's the name says for which rows, settings and network it is."""
    if config.checkpoint is None:
        return f"{folder}/{config.name}.safetensors"
    settings = config.model_dump_json(include=set(_HYPERPARAMETERS) | {"workers"})
    identity = hashlib.sha256(f"{settings}{network.model_dump_json()}{prepared.digest}".encode()).hexdigest()
    return f"{storage.name(config.checkpoint).rstrip('/')}/{config.name}-{identity[:16]}.safetensors"


def _finish(
    prepared: Prepared,
    config: TrainConfig,
    network: NetworkSpec,
    learnt: Learnt,
    rivals: Sequence[Baseline],
    duel: Duel | None,
    on_event: OnEvent,
) -> TrainResult:
    """Calibrate, gate, package, report."""
    trained = learnt.trained
    stages = Stages(on_event, config.name)
    with stages.stage(Stage.GATE) as stage:
        weights, notes = _calibrated(prepared, network, trained.weights)
        predictions, metrics, oddities, actual = _evaluate(prepared, network, weights)
        verdict = gate.judge(config.gates, metrics)
        if duel is not None:
            against = duel.compare(predictions, prepared.transform, actual, config.champion_tolerance)
            verdict = replace(verdict, against=against)

        def predict(rows: Rows) -> Predictions:
            lenient = prepared.transform.model_copy(update={"missing_history": "impute"})
            return Predictions.of(prepared.transform, forward(network, weights, lenient.apply(rows).matrix))

        stage.at("comparing with baselines")
        evaluation = assess(prepared, predictions, actual, metrics, predict, rivals)
        stage.summary = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    held_out = HeldOut.of(prepared.dataset, prepared.transform, limit=HELD_OUT_ROWS)
    rows = {str(part): found for part, found in prepared.dataset.sizes.items()}
    path, digest = None, None
    if verdict.passed:
        with stages.stage(Stage.PACKAGE) as stage:
            path = config.output / config.name / "model.tar.gz"
            manifest = Manifest(
                name=config.name,
                transform=prepared.transform,
                network=network,
                metrics=metrics,
                rows=rows,
                trained_until=prepared.dataset.until,
                versions=versions(),
            )
            digest = _pack(path, manifest, weights, golden(held_out, predictions.rows(held_out.numbers)))
            drift_series.write(
                path.parent, prepared.dataset, prepared.transform, predict, name=config.name, sha256=digest
            )
            stage.summary = f"{path.name}, {path.stat().st_size:,} bytes, sha256 {digest[:12]}…"
    left_out = {str(part): left for part, left in prepared.features.left_out.items()}
    warnings = (*prepared.warnings, *oddities)
    story = report.Story(
        config=config,
        transform=prepared.transform,
        evaluation=evaluation,
        verdict=verdict,
        quality=prepared.quality,
        losses=learnt.losses,
        best_epoch=trained.best,
        rows=rows,
        left_out=left_out,
        counts=prepared.features.counts,
        warnings=warnings,
        until=prepared.dataset.until,
        made=datetime.now(UTC),
        notes=notes,
    )
    return TrainResult(
        config=config,
        transform=prepared.transform,
        artifact=path,
        sha256=digest,
        metrics=metrics,
        verdict=verdict,
        rows=rows,
        left_out=left_out,
        counts=prepared.features.counts,
        warnings=warnings,
        epochs=trained.epochs,
        best_epoch=trained.best,
        losses=learnt.losses,
        evaluation=evaluation,
        quality=prepared.quality,
        report=_write(config.output / config.name / "report.html", report.page(story)),
        seconds=prepared.seconds | {str(Stage.TRAIN): trained.seconds} | stages.seconds,
        held_out=held_out,
        predictions=predictions.rows(held_out.numbers),
    )


def _write(path: Path, text: str) -> Path:
    """Write a text, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(f"{path}: cannot be written: {error.strerror}: choose another output") from None
    return path


def _calibrated(
    prepared: Prepared, network: NetworkSpec, weights: Mapping[str, Single]
) -> tuple[Mapping[str, Single], tuple[str, ...]]:
    """A classification's weights with the temperature that suits the validation rows, and what was done."""
    if prepared.task is Task.REGRESSION:
        return weights, ()
    features_of, classes = prepared.features.table.whole(Part.VALIDATION)
    outputs = forward(network, weights, features_of)
    by = calibrate.temperature(outputs, classes)
    note = f"Probabilities were calibrated on the validation rows: outputs are divided by {by:.3g}."
    return calibrate.cool(weights, network, by), (note,)


def _pack(path: Path, manifest: Manifest, weights: Mapping[str, Single], rows: Golden) -> str:
    try:
        return artifact.pack(path, manifest, weights, rows)
    except ContractError as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror}: choose another output") from None


def _evaluate(
    prepared: Prepared, network: NetworkSpec, weights: Mapping[str, Single]
) -> tuple[Predictions, dict[str, float], list[str], Floats]:
    """Predictions for all test rows, metrics on those with a target, what is odd about the others, and the targets."""
    dataset, transform = prepared.dataset, prepared.transform
    pieces = (piece for piece, _ in prepared.features.table.part(Part.TEST))
    predictions = evaluate.predict(transform, network, weights, pieces)
    actual = features.actual(dataset, transform, Part.TEST)
    warnings = []
    if unknown := int(np.isnan(actual).sum()):
        if unknown == len(actual):
            raise DataError(f"{dataset.source}: none of the {unknown} test rows has a target: nothing can be measured")
        warnings.append(f"{unknown} test rows have no target and are not in the metrics")
    if transform.table.task is Task.CLASSIFICATION and (
        new := int((features.class_indices(transform, actual) == -1).sum())
    ):
        warnings.append(f"{new} test rows are of classes that no training row has: they count as misses")
    return predictions, evaluate.metrics(predictions, transform, actual), warnings, actual
