"""The model that is deployed, on the same rows: a challenger must not be worse by more than a tolerance.

Only rows that neither model was trained on count: those after both manifests' `trained_until`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.contract import artifact
from inference.contract.artifact import Artifact
from inference.contract.errors import ContractError
from inference.contract.predictions import Predictions
from inference.contract.schema import Floats, Indices, Task
from inference.contract.transform import Transform
from training import features, order, storage
from training.assess import gain, losses, resamples
from training.bootstrap import Resamples
from training.dataset import Dataset, Part
from training.errors import DataError
from training.features import class_indices
from training.gate import Comparison
from training.prepared import Prepared

LEAST_ROWS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Duel:
    """A champion that may be compared with, and its loss on each row that counts.

    Attributes:
        rows: positions among the test rows.
    """

    name: str
    rows: Indices
    theirs: Floats
    drawn: Resamples

    def compare(self, predictions: Predictions, transform: Transform, actual: Floats, tolerance: float) -> Comparison:
        """Our answers for all test rows against theirs, paired row by row; `actual` is coded for our transform."""
        scores = predictions.values if predictions.probabilities is None else predictions.probabilities
        truth = actual if transform.table.task is Task.REGRESSION else class_indices(transform, actual)
        ours = losses(scores[self.rows].astype(np.float64), truth[self.rows])
        better, interval = gain(ours, self.theirs, self.drawn)
        return Comparison(
            champion=self.name,
            rows=len(self.rows),
            tolerance=tolerance,
            gain=better,
            low=None if interval is None else interval.low,
            high=None if interval is None else interval.high,
        )


def load(place: str) -> Artifact:
    """Read a model.tar.gz, here or in S3.

    Raises:
        DataError: there is none, or it is damaged.
    """
    content = storage.read_bytes(place)
    if content is None:
        raise DataError(f"champion {place}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "model.tar.gz"
        archive.write_bytes(content)
        try:
            artifact.unpack(archive, Path(folder) / "model")
            return artifact.load_directory(Path(folder) / "model")
        except ContractError as error:
            raise DataError(f"champion {place}: {str(error).replace(f'{archive}: ', '')}") from None


def challenge(prepared: Prepared, place: str) -> Duel:
    """Let the champion answer the test rows that are new to both models.

    Raises:
        DataError: the two cannot be compared on these data; says why.
    """
    model, dataset = load(place), prepared.dataset
    theirs = model.manifest
    if problem := _differs(dataset, prepared.transform, theirs.transform):
        raise DataError(f"champion {place}: {problem}")
    new = _unseen(dataset, theirs.trained_until, place)
    scores, truth = _answers(dataset, model)
    rows = np.flatnonzero(new & ~np.isnan(truth))
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"champion {place}: {len(rows)} test rows are later than both models' training"
            f" (the champion's until {theirs.trained_until}), at least {LEAST_ROWS} are needed: take later data"
        )
    known = truth if theirs.transform.table.task is Task.REGRESSION else class_indices(theirs.transform, truth)
    lag = max(prepared.transform.history_rows, theirs.transform.history_rows)
    return Duel(theirs.name, rows, losses(scores[rows], known[rows]), resamples(dataset, rows, lag))


def _differs(dataset: Dataset, ours: Transform, theirs: Transform) -> str | None:
    """Why the champion cannot answer these rows."""
    if (theirs.table.target, theirs.table.task) != (ours.table.target, ours.table.task):
        return (
            f"predicts {theirs.table.target!r} ({theirs.table.task}), this run {ours.table.target!r}"
            f" ({ours.table.task}): they cannot be compared"
        )
    kinds = {column.name: column.kind for column in dataset.columns}
    odd = [column.name for column in theirs.table.columns if kinds.get(column.name) != column.kind]
    return f"needs columns that this run lacks or reads otherwise: {', '.join(odd)}: do not drop them" if odd else None


def _unseen(dataset: Dataset, until: str | None, place: str) -> NDArray[np.bool_]:
    """Test rows after both models' training.

    Raises:
        DataError: nobody can tell.
    """
    line = dataset.line(Part.TEST)
    if until is None or dataset.until is None or line is None:
        whose = "the champion's manifest" if until is None else "this run"
        raise DataError(
            f"champion {place}: {whose} has no order that says which rows were trained on: train with an order"
        )
    try:
        limit = max(order.position(text, timed=dataset.timed) for text in (until, dataset.until))
    except ValueError:
        raise DataError(
            f"champion {place}: was trained until {until}, this run until {dataset.until}: not one order"
        ) from None
    return np.asarray(line > limit)


def _answers(dataset: Dataset, model: Artifact) -> tuple[Floats, Floats]:
    """The champion's numbers or probabilities for all test rows, and the targets in its codes."""
    transform = model.manifest.transform.model_copy(update={"missing_history": "impute"})
    names, target = transform.table.names, transform.table.index(transform.table.target)
    theirs = replace(dataset, spill=dataset.spill.only(names))
    scores, truth = [], []
    for rows in features.rows_of(theirs, transform, Part.TEST):
        answer = Predictions.of(transform, model.forward(transform.apply(rows).matrix))
        scores.append(answer.values.astype(np.float64) if answer.probabilities is None else answer.probabilities)
        truth.append(rows.emitted[:, target].copy())
    return np.concatenate(scores), np.concatenate(truth)
