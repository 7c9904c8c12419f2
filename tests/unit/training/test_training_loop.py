from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.contract.network import NetworkSpec, forward
from inference.contract.schema import Task
from tests.training_support.rows import table
from training import loop
from training.checkpoint import Checkpoint
from training.errors import TrainingError
from training.loop import Epoch, Job, train
from training.table import FeatureTable

ROWS = 300


@pytest.fixture
def job(tmp_path: Path) -> Job:
    random = np.random.Generator(np.random.PCG64(0))
    features = random.normal(size=(ROWS, 3)).astype(np.float32)
    table(tmp_path / "features", features, (features[:, 0] - 0.5 * features[:, 1]).astype(np.float32), 200)
    return Job(
        features=tmp_path / "features",
        rows=ROWS,
        network=NetworkSpec(inputs=3, hidden=(8,), outputs=1),
        task=Task.REGRESSION,
        learning_rate=0.02,
        weight_decay=0.0,
        dropout=0.0,
        epochs=15,
        batch_size=32,
        patience=15,
        seed=1,
    )


def rows_of(job: Job) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and targets."""
    with FeatureTable(job.features, ROWS, 3, regression=True).open() as file:
        features, targets = file.read(0)
        return features.copy(), targets.copy()


def give(job: Job, targets: NDArray[Any]) -> None:
    """Other targets."""
    table(job.features, rows_of(job)[0], targets, 200)


def ignore(_epoch: Epoch) -> None:
    pass


def changed(job: Job, **values: Any) -> Job:
    return job.model_copy(update=values)


def test_it_learns_and_keeps_the_best_epochs_weights(job: Job) -> None:
    heard: list[Epoch] = []
    outcome = train(job, heard.append)
    assert heard == outcome.epochs
    losses = [epoch.validation_loss for epoch in heard]
    assert losses[outcome.best - 1] == min(losses) < 0.1
    features, targets = (every[200:] for every in rows_of(job))
    mine = np.square(forward(job.network, outcome.weights, features)[:, 0] - targets).mean()
    assert mine == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_seed_gives_the_same_weights(job: Job, dropout: float) -> None:
    same = changed(job, epochs=3, dropout=dropout)
    first, again, other = train(same, ignore), train(same, ignore), train(changed(same, seed=2), ignore)
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(weight, again.weights[name])
    assert not np.array_equal(first.weights["layers.0.weight"], other.weights["layers.0.weight"])


def test_training_sees_its_own_rows_only(job: Job) -> None:
    first = train(changed(job, epochs=2), ignore)
    targets = rows_of(job)[1]
    targets[200:] += 0.01  # validation: may choose the epoch, nothing else
    give(job, targets)
    again = train(changed(job, epochs=2), ignore)
    assert [epoch.train_loss for epoch in first.epochs] == [epoch.train_loss for epoch in again.epochs]


def test_it_stops_when_validation_no_longer_improves(job: Job) -> None:
    give(job, np.random.Generator(np.random.PCG64(1)).normal(size=ROWS).astype(np.float32))  # pure noise
    outcome = train(changed(job, epochs=200, patience=3, learning_rate=0.1), ignore)
    assert len(outcome.epochs) == outcome.best + 3 < 200


def test_a_loss_that_explodes_is_told_in_one_line(job: Job) -> None:
    give(job, np.full(ROWS, 3e38, dtype=np.float32))
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1: lower the learning rate, now 0\.02"):
        train(job, ignore)


def test_classes_are_learnt_by_cross_entropy(job: Job) -> None:
    features = rows_of(job)[0]
    classes = (features[:, 0] > 0).astype(np.int64) + (features[:, 1] > 0)
    give(job, classes)
    spec = NetworkSpec(inputs=3, hidden=(16,), outputs=3)
    outcome = train(changed(job, task=Task.CLASSIFICATION, network=spec, epochs=30, patience=30), ignore)
    predicted = forward(spec, outcome.weights, features[200:]).argmax(axis=1)
    assert (predicted == classes[200:]).mean() > 0.9


class Stop(Exception):  # noqa: N818  # stands for a kill
    pass


@pytest.mark.parametrize("minutes", [None, 1e-9])
def test_training_goes_on_from_its_checkpoint_to_the_same_weights(
    job: Job, tmp_path: Path, minutes: float | None
) -> None:
    kept = changed(job, epochs=7, dropout=0.2, checkpoint=str(tmp_path / "c.safetensors"), checkpoint_minutes=minutes)
    whole = train(changed(kept, checkpoint=None), ignore)

    def stop(epoch: Epoch) -> None:
        if epoch.number == 4:
            raise Stop

    with pytest.raises(Stop):
        train(kept, stop)
    heard: list[Epoch] = []
    resumed = train(kept, heard.append)
    assert heard == whole.epochs
    assert resumed.best == whole.best
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(weight, resumed.weights[name])
    assert train(kept, ignore).epochs == whole.epochs, "nothing is left to do"


def test_a_training_that_is_cut_within_an_epoch_goes_on_there(job: Job, tmp_path: Path) -> None:
    kept = changed(job, epochs=2, checkpoint=str(tmp_path / "c.safetensors"), checkpoint_minutes=1e-9)
    whole = train(changed(kept, checkpoint=None), ignore)
    writes = 0
    write = loop.checkpoint.write

    def cut(place: str, state: Checkpoint) -> None:
        nonlocal writes
        write(place, state)
        writes += 1
        if writes == 3:
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.checkpoint, "write", cut)
        with pytest.raises(Stop):
            train(kept, ignore)
    resumed = train(kept, ignore)
    assert resumed.epochs == whole.epochs
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(weight, resumed.weights[name])


def test_a_checkpoint_that_was_cut_off_is_none(job: Job, tmp_path: Path) -> None:
    place = tmp_path / "c.safetensors"
    kept = changed(job, epochs=2, checkpoint=str(place))
    whole = train(kept, ignore)
    place.write_bytes(place.read_bytes()[:-100])
    assert train(kept, ignore).epochs == whole.epochs


def test_half_precision_learns_too_and_keeps_float32_weights(job: Job) -> None:
    outcome = train(changed(job, precision="bf16"), ignore)
    assert outcome.epochs[-1].validation_loss < 0.1
    assert {weight.dtype for weight in outcome.weights.values()} == {np.dtype(np.float32)}
