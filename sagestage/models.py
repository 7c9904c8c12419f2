"""Training for the command line: several models on the same data, shown as stages, kept under their keys."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.markup import escape

from sagestage import report
from sagestage.progress import Stage, Stages
from sagestage.traffic import Expected

if TYPE_CHECKING:
    from rich.table import Table

    from sagestage.project import Project
    from training.events import Event, TrialAdvanced
    from training.run import TrainResult

SHOWN_TRIALS = 12
DEFAULT_GATES = {"regression": ("r2>=0.8",), "classification": ("accuracy>=0.7",)}
"""What a rehearsed model must reach when nobody says otherwise."""


@dataclass(frozen=True)
class Model:
    """A trained model; `archive` is None when it missed its gate."""

    result: TrainResult
    archive: Path | None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.result.name

    @property
    def passed(self) -> bool:
        """Whether it may be deployed."""
        return self.result.verdict.passed

    @property
    def kept(self) -> tuple[Path, str]:
        """The archive and its object key. Raises ValueError when the gate was missed: there is none."""
        if self.archive is None or self.result.key is None:
            raise ValueError(f"{self.name} missed its gate and was not packaged")
        return self.archive, self.result.key

    def to_json(self) -> dict[str, Any]:
        """What a program wants to know of it."""
        return {
            "name": self.name,
            "metrics": self.result.metrics,
            "gate": {str(check.gate): check.passed for check in self.result.verdict.checks},
            "path": None if self.archive is None else str(self.archive),
            "sha256": self.result.sha256,
            "key": self.result.key,
            "report": str(self.result.report),
            "rows": self.result.rows,
            "warnings": list(self.result.warnings),
            "seconds": self.result.seconds,
        }


@dataclass(frozen=True)
class Trained:
    """Models of the same data, in the order of their settings."""

    models: tuple[Model, ...]

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of each part of the data."""
        return self.models[0].result.rows

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the data."""
        return self.models[0].result.warnings

    def held_out(self, limit: int) -> tuple[list[Any], dict[str, Expected]]:
        """At most `limit` held-out rows as JSON instances, and what each model must answer for them."""
        rows = self.models[0].result.held_out
        instances = list(rows.instances(range(min(limit, len(rows)))))
        return instances, {model.name: _expected(model.result) for model in self.models}


def train(
    project: Project,
    settings: Sequence[Mapping[str, Any]],
    gates: Sequence[str],
    stages: Stages,
    *,
    default_gates: bool = False,
) -> Trained:
    """Train a model for each of the settings, which differ in the model only: the data are prepared once.

    Raises:
        TrainingError: bad settings, bad data, or a training that failed.
    """
    from training.config import TrainConfig
    from training.gate import Gate
    from training.run import fit_all, started, tuned

    configs = [TrainConfig(**one, gates=tuple(gates), output=project.runs) for one in settings]
    with Follower(stages) as follow, started(configs[0], follow) as (prepared, cluster):
        for warning in prepared.warnings:
            follow.warn(warning)
        if default_gates and not gates:
            chosen = tuple(Gate.parse(text) for text in DEFAULT_GATES[prepared.task])
            configs = [config.model_copy(update={"gates": chosen}) for config in configs]
        configs = [tuned(prepared, config, follow) for config in configs]
        results = fit_all(prepared, configs, cluster, follow)
    return Trained(tuple(_keep(project, result) for result in results))


def _keep(project: Project, result: TrainResult) -> Model:
    """Put the archive where its key says, so that a cloud that starts anew can be given it again."""
    if result.artifact is None or result.key is None:
        return Model(result, None)
    place = project.artifacts / result.key
    place.parent.mkdir(parents=True, exist_ok=True)
    for beside in (*result.artifact.parent.glob("*.json"), result.report):
        shutil.copyfile(beside, place.with_name(beside.name))
    shutil.copyfile(result.artifact, place)
    return Model(result, place)


def _expected(result: TrainResult) -> Expected:
    from inference.contract.artifact import Tolerance

    return Expected(str(result.sha256)[:12], result.predictions.values, Tolerance())


def trial_table(trials: Iterable[TrialAdvanced], shown: int = SHOWN_TRIALS) -> Table:
    """The best trials of a search: those that went furthest first, then by their validation loss."""
    best = sorted(trials, key=lambda one: (-one.epochs, one.loss))
    made = report.table(
        f"trials: {len(best)} of {best[0].trials}" if best else "trials",
        "trial", "epochs", "validation loss", "settings", right=(0, 1, 2),
    )  # fmt: skip
    for one in best[:shown]:
        loss = f"{one.loss:.4f}" if math.isfinite(one.loss) else "exploded"
        made.add_row(str(one.trial), str(one.epochs), loss, escape(one.settings))
    return made


class Follower:
    """Shows the events of a training run as stages; closes the stage under way when the run fails."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._open = ExitStack()
        self._stage = Stage("")
        self._trials: dict[int, TrialAdvanced] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from training.events import EpochFinished, StageAdvanced, StageFinished, StageStarted, TrialAdvanced

        match event:
            case StageStarted(stage, model):
                self._stage = self._open.enter_context(self._stages.stage(f"{stage} {model}".strip()))
            case StageAdvanced(_, text, fraction):
                self._stage.at(text, fraction)
            case EpochFinished(_, epoch, epochs, train_loss, validation_loss):
                text = f"epoch {epoch} of at most {epochs}, loss {train_loss:.4f}, on validation {validation_loss:.4f}"
                self._stage.at(text, epoch / epochs)
            case TrialAdvanced(trial=trial):
                self._trials[trial] = event
                self._stages.below(trial_table(self._trials.values()))
            case StageFinished(summary=summary):
                self._stage.summary = summary
                self._open.close()
                if self._trials:
                    self._stages.below(None)
                    self._stages.show(trial_table(self._trials.values()))
                    self._trials = {}

    def warn(self, text: str) -> None:
        """Show what is odd about the data."""
        self._stages.warn(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)
