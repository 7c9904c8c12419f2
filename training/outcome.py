"""What became of a training: calibrated, measured on the test part once, judged, packaged and told in a report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from inference.contract import artifact
from inference.contract.artifact import Golden, Manifest
from inference.contract.errors import ContractError
from inference.contract.network import NetworkSpec, Single, forward
from inference.contract.predictions import Predictions
from inference.contract.schema import Floats, Rows, Task
from inference.contract.transform import Transform
from training import calibrate, drift_series, evaluate, features, gate, report
from training.assess import Evaluation, assess
from training.baselines import Baseline
from training.champion import Duel
from training.config import TrainConfig
from training.dataset import Part
from training.errors import DataError, TrainingError
from training.events import OnEvent, Stage, Stages
from training.features import Counts, LeftOut
from training.gate import Verdict
from training.heldout import HeldOut
from training.package import golden, versions
from training.prepared import Prepared
from training.quality import Quality
from training.ray_train import Trained

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


def finish(
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
