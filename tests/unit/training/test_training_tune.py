from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from training import tune
from training.config import TrainConfig
from training.errors import TrainingError
from training.tune import FACTOR, RUNGS, Study


def run(study: Study, workers: int, seed: int) -> list[tuple[int, int]]:
    """Play a study with so many workers, whose trials end in a random order; trial 5 has the least loss."""
    random = np.random.Generator(np.random.PCG64(seed))
    losses = np.random.Generator(np.random.PCG64(99)).permutation(study.trials) + 1.0
    losses[5] = 0.5
    order = []
    while True:
        while len(study.running) < workers and (found := study.next()) is not None:
            study.running.add(found)
            order.append(found)
        if not study.running:
            return order
        done = sorted(study.running)[int(random.integers(len(study.running)))]
        study.running.remove(done)
        study.results[done] = float(losses[done[0]]) / (1 + done[1])


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_every_trial_starts_once_and_a_third_goes_on(workers: int, seed: int) -> None:
    study = Study(27)
    order = run(study, workers, seed)
    assert len(set(order)) == len(order)
    ran = Counter(rung for _, rung in order)
    assert ran[0] == 27
    assert 9 <= ran[1] <= 18
    assert 3 <= ran[2] <= 9
    for trial, rung in order:
        assert rung == 0 or order.index((trial, rung - 1)) < order.index((trial, rung))
    assert study.best()[0] == 5, "the best of all is always promoted"


def test_a_study_goes_on_from_its_results() -> None:
    whole = Study(9)
    order = run(whole, 1, 0)
    half = Study(9, {key: whole.results[key] for key in order[:5]})
    assert run(half, 1, 0) == order[5:]


def test_trials_that_explode_are_not_promoted_and_all_of_them_are_an_error() -> None:
    study = Study(3, {(0, 0): math.inf, (1, 0): math.inf, (2, 0): math.inf})
    assert study.next() is None
    with pytest.raises(TrainingError, match="none of the 3 trials"):
        study.best()


def test_samples_are_settings_and_a_longer_study_begins_with_the_same_ones() -> None:
    few, many = tune.sample(5, seed=1), tune.sample(9, seed=1)
    assert many[:5] == few
    assert few[0] == {}
    for one in many:
        TrainConfig.model_validate({"data": "a.csv", "target": "y", **one})


def test_the_last_rung_is_the_whole_run() -> None:
    assert [tune.epochs_of(rung, 60) for rung in range(RUNGS)] == [7, 20, 60]
    assert tune.epochs_of(RUNGS - 1, 1) == 1
    assert FACTOR == 3
