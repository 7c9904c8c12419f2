"""A search for better settings by ASHA (Li et al., 2020): many trials of few epochs, few of many.

A trial is the training loop itself in a process of one CPU, and sees validation rows only. It goes on from its own
checkpoint when it is promoted, so no epoch is run twice; a study whose folder is kept goes on likewise.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from training import storage
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.loop import Job

FACTOR = 3
"""One trial in so many goes on to the next rung, where it gets so many times as many epochs."""
RUNGS = 3
_RATES = (3e-4, 3e-2)
_DECAYS = (1e-6, 1e-2)
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "hidden": ((32,), (64, 32), (128, 64), (128, 64, 32), (256, 128)),
    "dropout": (0.0, 0.05, 0.1, 0.2),
    "batch_size": (64, 128, 256, 512),
    "activation": ("relu", "silu", "tanh"),
}


@dataclass(frozen=True, slots=True)
class Rung:
    """A trial that reached a rung: the epochs run by then and the best validation loss."""

    trial: int
    rung: int
    epochs: int
    loss: float


@dataclass
class Study:
    """What is known of the trials; decides which to run next."""

    trials: int
    results: dict[tuple[int, int], float] = field(default_factory=dict)
    running: set[tuple[int, int]] = field(default_factory=set)

    def next(self) -> tuple[int, int] | None:
        """The trial and the rung to run now; None when there is nothing to do until another one ends."""
        taken = self.results.keys() | self.running
        for rung in range(RUNGS - 1, 0, -1):
            below = sorted((loss, trial) for (trial, at), loss in self.results.items() if at == rung - 1)
            for loss, trial in below[: len(below) // FACTOR]:
                if (trial, rung) not in taken and math.isfinite(loss):
                    return trial, rung
        return next(((trial, 0) for trial in range(self.trials) if (trial, 0) not in taken), None)

    def leader(self) -> tuple[int, float] | None:
        """The trial with the least loss on the highest rung that any reached, and that loss; None without any."""
        finite = {key: loss for key, loss in self.results.items() if math.isfinite(loss)}
        if not finite:
            return None
        top = max(rung for _, rung in finite)
        loss, trial = min((loss, trial) for (trial, rung), loss in finite.items() if rung == top)
        return trial, loss

    def best(self) -> tuple[int, float]:
        """The leader.

        Raises:
            TrainingError: no trial ended with a finite loss.
        """
        found = self.leader()
        if found is None:
            raise TrainingError(f"none of the {self.trials} trials ended with a finite loss: lower the learning rate")
        return found


def sample(trials: int, seed: int) -> list[dict[str, Any]]:
    """The settings of each trial; the first has the run's own. The first n of a longer list are the same."""
    random = np.random.Generator(np.random.PCG64(seed))
    found: list[dict[str, Any]] = [{}]
    for _ in range(trials - 1):
        drawn: dict[str, Any] = {
            "learning_rate": _drawn(random, *_RATES),
            "weight_decay": _drawn(random, *_DECAYS),
        }
        found.append(drawn | {name: options[int(random.integers(len(options)))] for name, options in _CHOICES.items()})
    return found


def _drawn(random: np.random.Generator, low: float, high: float) -> float:
    """A number of three digits, its logarithm drawn evenly."""
    return float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.3g}")


def epochs_of(rung: int, epochs: int) -> int:
    """Epochs that a trial has run at the end of a rung; the last rung is the whole run."""
    return max(1, round(epochs / float(FACTOR ** (RUNGS - 1 - rung))))


def search(jobs: list[Job], record: str | None, on_rung: Callable[[Rung, Study], None]) -> Study:
    """Run the trials, as many at a time as there are CPUs.

    `jobs` have a checkpoint each; `record` is a file that the results are kept in, and read from.

    Raises:
        TrainingError: a trial's process died, or no trial ended with a finite loss.
    """
    study = Study(len(jobs), _read(record))
    cpus = min(len(os.sched_getaffinity(0)), len(jobs))
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(cpus, context) as pool:
        pending: dict[Future[float], tuple[int, int]] = {}
        while True:
            while len(pending) < cpus and (found := study.next()) is not None:
                study.running.add(found)
                trial, rung = found
                job = jobs[trial]
                until = epochs_of(rung, job.epochs)
                pending[pool.submit(_trial, job.model_copy(update={"until": until}).model_dump(mode="json"))] = found
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                trial, rung = pending.pop(future)
                try:
                    loss = future.result()
                except BrokenProcessPool:
                    raise TrainingError(f"the process of trial {trial} died: is there enough memory?") from None
                study.running.discard((trial, rung))
                study.results[trial, rung] = loss
                if record is not None:
                    storage.write_bytes(record, orjson.dumps([[*key, value] for key, value in study.results.items()]))
                on_rung(Rung(trial, rung, epochs_of(rung, jobs[trial].epochs), loss), study)
    study.best()
    return study


def _read(record: str | None) -> dict[tuple[int, int], float]:
    content = None if record is None else storage.read_bytes(record)
    if content is None:
        return {}
    # JSON has no infinity: a trial that failed is kept as null
    return {(trial, rung): math.inf if loss is None else loss for trial, rung, loss in orjson.loads(content)}


def _trial(raw: dict[str, Any]) -> float:
    """The best validation loss; infinite for settings under which the loss explodes."""
    from training import loop  # noqa: PLC0415  # imports torch: in the trial's process only

    job = loop.Job.model_validate(raw)
    try:
        outcome = loop.train(job, lambda _epoch: None)
    except TrainingError:
        return math.inf
    return outcome.epochs[outcome.best - 1].validation_loss
