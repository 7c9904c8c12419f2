"""What is fitted on the training rows, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.contract.fits import (
    SECONDS_A_DAY,
    CalendarFit,
    CalendarPart,
    HistoryFit,
    LevelsFit,
    NumericFit,
    calendar_phase,
)
from inference.contract.schema import Kind, Schema, Task
from inference.contract.transform import Transform
from training.config import TrainConfig
from training.dataset import Dataset, Part
from training.errors import DataError
from training.profile import FLAG, MAX_CLASSES, MAX_CODES, Profile, look
from training.statistics import Distinct, Moments, moments

MAX_LEVELS = 100
"""A text column has at most so many features: its most frequent levels; the others are like unseen ones."""
AUTO_CLASSES = 10
"""An integer target with at most so many distinct values is taken for classes, unless the task is given."""
AUTO_PRODUCTS = 3
WHISKER = 1.5
"""Bounds lie this many interquartile ranges beyond the quartiles (Tukey, 1977)."""
_CYCLES = {CalendarPart.HOUR: 1.0, CalendarPart.WEEKDAY: 7.0, CalendarPart.YEARDAY: 365.0}


@dataclass(frozen=True)
class Fitted:
    """The frozen state, and what was noticed on the way, in sentences."""

    transform: Transform
    warnings: tuple[str, ...]


def fit(dataset: Dataset, config: TrainConfig, profile: Profile | None = None) -> Fitted:
    """Fit the transform on the training rows, on which `profile` was made; the result does not depend on `chunk_rows`.

    Raises:
        DataError: the target is constant or cannot be predicted, or a setting names a column of the wrong kind.
    """
    return _Fit(dataset, config, look(dataset, config.chunk_rows) if profile is None else profile).run()


@dataclass
class _Fit:
    dataset: Dataset
    config: TrainConfig
    profile: Profile
    warnings: list[str] = field(default_factory=list)

    def run(self) -> Fitted:
        distinct = self.profile.distinct
        task, classes = self._task(distinct[self.dataset.target])
        inputs = [column for column in self.dataset.columns if column.name != self.dataset.target]
        codes = {
            column.name: distinct[column.name].values
            for column in inputs
            if column.kind is Kind.INTEGER and FLAG < len(distinct[column.name].values) <= MAX_CODES
        }
        numbers = [c.name for c in inputs if c.kind in (Kind.NUMERIC, Kind.INTEGER) and c.name not in codes]
        for name in numbers:
            if len(distinct[name].values) == 1:
                self.warnings.append(f"column {name!r} is constant in the training rows and tells nothing")
        continuous = [
            name for name in numbers if self.dataset.kind(name) is Kind.NUMERIC and self._varies(distinct[name])
        ]
        numeric = self._numeric(numbers, continuous)
        history = self._history_names(task)
        target_moments = self._moments([self.dataset.target])
        regression = task is Task.REGRESSION
        levels = [
            self._levels(column.name, distinct[column.name]) for column in inputs if column.kind is Kind.CATEGORICAL
        ]
        transform = Transform(
            table=Schema(
                columns=self.dataset.columns,
                target=self.dataset.target,
                task=task,
                order=self.dataset.order,
                group=self.dataset.group,
            ),
            numeric=tuple(numeric.values()),
            products=self._products(numeric, continuous),
            calendar=tuple(self._calendar(column.name) for column in inputs if column.kind is Kind.TIME),
            levels=(*(LevelsFit(name=name, levels=values) for name, values in codes.items()), *levels),
            history=self._history(history, numeric),
            missing_history=self.config.missing_history,
            target_mean=float(target_moments.mean[0]) if regression else 0.0,
            target_std=float(target_moments.std[0]) if regression else 1.0,
            classes=classes,
        )
        if not transform.feature_names:
            raise DataError(f"{self.dataset.source}: the columns give no feature: {'; '.join(self.warnings)}")
        if transform.history_rows and "row" in transform.table.names:
            raise DataError(
                f"{self.dataset.source}: a column is named 'row', which requests with a history use: rename or drop it"
            )
        return Fitted(transform, tuple(self.warnings))

    @staticmethod
    def _varies(distinct: Distinct) -> bool:
        """Whether a column has more values than a flag."""
        return distinct.exceeded or len(distinct.values) > FLAG

    def _task(self, distinct: Distinct) -> tuple[Task, tuple[str, ...] | tuple[int, ...]]:
        """What is predicted, and the classes in order."""
        target, source = self.dataset.target, self.dataset.source
        kind, asked, values = self.dataset.kind(target), self.config.task, distinct.values
        count = self.dataset.sizes[Part.TRAIN]
        if not values and not distinct.exceeded:
            raise DataError(f"{source}: target {target!r} has no value in the {count} training rows: fill it in")
        if len(values) == 1:
            value = self.dataset.spill.texts[target][int(values[0])] if kind is Kind.CATEGORICAL else f"{values[0]:g}"
            raise DataError(
                f"{source}: target {target!r} is {value!r} in all {count} training rows: nothing can be learnt;"
                " take another target or more rows"
            )
        if kind is Kind.TIME:
            raise DataError(f"{source}: target {target!r} holds times: predict a number or a class")
        if asked == "auto":
            few = kind is Kind.INTEGER and 0 < len(values) <= AUTO_CLASSES
            task = Task.CLASSIFICATION if kind is Kind.CATEGORICAL or few else Task.REGRESSION
        else:
            task = asked
        if task is Task.REGRESSION:
            if kind is Kind.CATEGORICAL:
                raise DataError(
                    f"{source}: target {target!r} holds texts: a regression needs numbers (task classification)"
                )
            return task, ()
        if kind is Kind.NUMERIC:
            raise DataError(
                f"{source}: target {target!r} holds fractions: classes are texts or integers (task regression)"
            )
        if distinct.exceeded or len(values) > MAX_CLASSES:
            raise DataError(f"{source}: target {target!r} has more than {MAX_CLASSES} classes: (task regression?)")
        if kind is Kind.CATEGORICAL:
            texts = self.dataset.spill.texts[target]
            return task, tuple(sorted(texts[int(value)] for value in values))
        return task, tuple(int(value) for value in values)

    def _moments(self, names: Sequence[str]) -> Moments:
        """Of the training rows, as they are."""
        return self._checked(names, self.profile.moments.of([self.dataset.index(name) for name in names]))

    def _clipped_moments(self, bounds: dict[str, tuple[float, float]]) -> Moments:
        """Of the training rows, after clipping: `apply` scales what it has clipped."""
        names = list(bounds)
        lower, upper = (np.array([pair[side] for pair in bounds.values()]) for side in (0, 1))
        centre = self.profile.centre[[self.dataset.index(name) for name in names]]
        columns = [self.dataset.index(name) for name in names]
        found = moments(
            lambda: (
                np.clip(chunk[:, columns], lower, upper)
                for chunk in self.dataset.part(Part.TRAIN, self.config.chunk_rows)
            ),
            len(names),
            centre,  # the median lies within the bounds, and is that of the clipped values too
        )
        return self._checked(names, found)

    def _checked(self, names: Sequence[str], found: Moments) -> Moments:
        for name, mean, std in zip(names, found.mean.tolist(), found.std.tolist(), strict=True):
            if not np.isfinite([mean, std]).all():
                raise DataError(f"{self.dataset.source}: column {name!r} holds numbers too large to square: rescale it")
        return found

    def _numeric(self, names: list[str], continuous: list[str]) -> dict[str, NumericFit]:
        """Bounds only for continuous columns with an interquartile range: not for codes, counts and flags."""
        bounds: dict[str, tuple[float, float]] = {}
        for name in continuous:
            low, _, high = self.profile.quartiles[self.dataset.index(name)].tolist()
            if high > low:
                bounds[name] = (low - WHISKER * (high - low), high + WHISKER * (high - low))
        raw, clipped = self._moments(names), self._clipped_moments(bounds)
        places = {name: place for place, name in enumerate(bounds)}
        fits = {}
        for index, name in enumerate(names):
            count = int(raw.count[index])
            if count == 0:
                self.warnings.append(f"column {name!r} has no value in the training rows: drop it")
            scale, place = (clipped, places[name]) if name in places else (raw, index)
            lower, upper = bounds.get(name, (None, None))
            fits[name] = NumericFit(
                name=name,
                impute=float(self.profile.quartiles[self.dataset.index(name), 1]) if count else 0.0,
                mean=float(scale.mean[place]),
                std=float(scale.std[place]),
                lower=lower,
                upper=upper,
            )
        return fits

    def _products(self, numeric: dict[str, NumericFit], continuous: list[str]) -> tuple[str, ...]:
        if self.config.products is None:
            return tuple(name for name in continuous if numeric[name].std > 0.0)[:AUTO_PRODUCTS]
        for name in self.config.products:
            if name not in numeric:
                kind = self.dataset.kind(name)
                raise DataError(f"products: column {name!r} is a {kind} code or time: products need quantities")
        return self.config.products

    def _calendar(self, name: str) -> CalendarFit:
        """The cycles that the training rows saw whole: an arc of one would be a trend in disguise."""
        index = self.dataset.index(name)
        first, last = np.inf, -np.inf
        phases = dict.fromkeys(CalendarPart, (np.inf, -np.inf))
        for chunk in self.dataset.part(Part.TRAIN, self.config.chunk_rows):
            seconds = chunk[:, index]
            seconds = seconds[~np.isnan(seconds)]
            if len(seconds):
                first, last = min(first, float(seconds.min())), max(last, float(seconds.max()))
                for part, (low, high) in phases.items():
                    phase = calendar_phase(seconds, part)
                    phases[part] = (min(low, float(phase.min())), max(high, float(phase.max())))
        parts = tuple(
            part for part, (low, high) in phases.items() if low < high and last - first >= _CYCLES[part] * SECONDS_A_DAY
        )
        if not parts:
            self.warnings.append(f"time column {name!r} went through no whole cycle in the training rows: no feature")
        return CalendarFit(name=name, parts=parts)

    def _levels(self, name: str, distinct: Distinct) -> LevelsFit:
        texts = self.dataset.spill.texts.get(name, ())
        ranked = sorted((-count, texts[int(code)]) for code, count in distinct.counts.items())
        if len(ranked) > MAX_LEVELS:
            self.warnings.append(
                f"column {name!r} has {len(ranked)} levels: the {MAX_LEVELS} most frequent ones became features"
            )
        return LevelsFit(name=name, levels=tuple(sorted(text for _, text in ranked[:MAX_LEVELS])))

    def _history_names(self, task: Task) -> tuple[str, ...]:
        if not self.dataset.ordered or not (self.config.lags or self.config.window):
            return ()
        if self.config.history is None:
            return (self.dataset.target,) if task is Task.REGRESSION else ()
        for name in self.config.history:
            if self.dataset.kind(name) not in (Kind.NUMERIC, Kind.INTEGER):
                raise DataError(f"history: column {name!r} is {self.dataset.kind(name)}: lags need numbers")
        return self.config.history

    def _history(self, names: Sequence[str], numeric: dict[str, NumericFit]) -> tuple[HistoryFit, ...]:
        if not names:
            return ()
        raw = self._moments(names)
        fits = []
        for index, name in enumerate(names):
            known = numeric.get(name)  # clipped like the column itself
            mean, std = (known.mean, known.std) if known else (float(raw.mean[index]), float(raw.std[index]))
            fits.append(
                HistoryFit(
                    name=name,
                    lags=tuple(sorted(set(self.config.lags))),
                    window=self.config.window,
                    mean=mean,
                    std=std,
                    of_target=name == self.dataset.target,
                )
            )
        return tuple(fits)
