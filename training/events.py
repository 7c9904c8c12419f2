"""What a run tells while it goes: values, for whoever shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter


class Stage(StrEnum):
    """The stages of a run, in their order."""

    DATA = "data"
    FIT = "fit"
    TUNE = "tune"
    TRAIN = "train"
    GATE = "gate"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began; `model` is empty for the stages that models share."""

    stage: Stage
    model: str = ""


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """A stage is at `text`; `fraction` (0..1) is None where the end is not known."""

    stage: Stage
    text: str
    fraction: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class EpochFinished:
    """An epoch of training, with the mean loss of each part; epochs count from 1."""

    model: str
    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended well; `summary` says in a few words what came of it."""

    stage: Stage
    seconds: float
    summary: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class TrialAdvanced:
    """A trial of a search reached a rung; `best` is the least loss on the highest rung so far. Trials count from 0."""

    model: str
    trial: int
    trials: int
    epochs: int
    loss: float
    best: float
    settings: str


Event = TrialAdvanced | StageStarted | StageAdvanced | EpochFinished | StageFinished
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Nobody listens."""


@dataclass
class Progress:
    """What a stage under way says of itself."""

    stage: Stage
    model: str
    on_event: OnEvent
    summary: str = ""

    def at(self, text: str, fraction: float | None = None) -> None:
        """Tell what the stage is at."""
        self.on_event(StageAdvanced(self.stage, text, fraction, self.model))


class Stages:
    """Runs stages, tells of them and keeps their seconds."""

    def __init__(self, on_event: OnEvent, model: str = "") -> None:
        self.seconds: dict[str, float] = {}
        self._on_event = on_event
        self._model = model

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Progress]:
        """A stage; it counts as finished only if nothing was raised in it."""
        begin = perf_counter()
        self._on_event(StageStarted(stage, self._model))
        progress = Progress(stage, self._model, self._on_event)
        yield progress
        self.seconds[stage] = perf_counter() - begin
        self._on_event(StageFinished(stage, self.seconds[stage], progress.summary, self._model))
