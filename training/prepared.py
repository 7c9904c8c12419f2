"""Data that are read, fitted and turned into features once, for all the models that learn from them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from inference.contract.schema import Task
from inference.contract.transform import Transform
from training import dataset as data
from training import features, gate, quality
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import TrainingError
from training.events import OnEvent, Stage, Stages, ignore
from training.features import FeatureSet
from training.fit import fit as fit_transform
from training.parallel import Elsewhere
from training.profile import look
from training.quality import Quality


@dataclass
class Prepared:
    """Data that are read, fitted and turned into features, in a run folder that ends with this context."""

    config: TrainConfig
    folder: Path
    dataset: Dataset
    transform: Transform
    features: FeatureSet
    quality: Quality
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    _fits: int = 0

    @property
    def task(self) -> Task:
        """What the models predict."""
        return self.transform.table.task

    @cached_property
    def digest(self) -> str:
        """The sha256 of what the networks see: features, targets, and the rows that enter the loss."""
        return self.features.table.digest()

    def fit_folder(self) -> Path:
        """A name below the run's folder that is not taken, for what Ray keeps of one fit."""
        self._fits += 1
        return self.folder / f"fit-{self._fits}"

    def close(self) -> None:
        """Remove the run folder."""
        _discard(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def prepare(config: TrainConfig, on_event: OnEvent = ignore, elsewhere: Elsewhere | None = None) -> Prepared:
    """Stages data and fit; `elsewhere` has other machines make the features.

    Raises:
        DataError: the data cannot be read, give the target away, or nothing can be learnt from them.
        ConfigError: a gate is on a metric that the task does not have.
    """
    stages = Stages(on_event)
    data.check(config)
    folder = _run_folder(config.output)
    try:
        with stages.stage(Stage.DATA) as stage:
            rows = data.load(config, folder, stage.at)
            parts = ", ".join(f"{found:,} {part}" for part, found in rows.sizes.items())
            stage.at("looking for leaks")
            profile = look(rows, config.chunk_rows)
            seen = quality.inspect(rows, config, profile)
            stage.summary = f"{rows.spill.rows:,} rows of {len(rows.columns)} columns: {parts}"
        with stages.stage(Stage.FIT) as stage:
            fitted = fit_transform(rows, config, profile)
            gate.check_task(config.gates, fitted.transform.table.task)
            made = features.build(rows, fitted.transform, config, folder, stage.at, elsewhere)
            clipped = sum(count.clipped for count in made.counts.values())
            imputed = sum(count.imputed for count in made.counts.values())
            width = len(fitted.transform.feature_names)
            stage.summary = f"{width} features; {clipped:,} values clipped, {imputed:,} imputed"
    except OSError as error:
        _discard(folder)
        raise TrainingError(f"{folder}: cannot be written: {error.strerror or error}: make room") from error
    except BaseException:
        _discard(folder)
        raise
    warnings = (*rows.warnings, *seen.warnings, *fitted.warnings)
    return Prepared(config, folder, rows, fitted.transform, made, seen, warnings, stages.seconds)


def _run_folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".run-", dir=output)).resolve()
    except OSError as error:
        raise TrainingError(f"{output}: no folder to write to: {error.strerror}: choose another output") from None


def _discard(folder: Path) -> None:
    """Remove a run folder, and the output folder if there is nothing else in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
