"""How good a model was where the truth is known: sums over parts, exact in any order, then metrics with intervals.

Intervals are 95 %: Wilson's (1927) for a share; mean plus or minus 1.96 standard errors for losses; by the delta method
for R², whose influence on a row is (e² - (1 - R²)(y - mean)²) / variance. Rows count as independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.contract.metrics import Monitored
from inference.contract.schema import Task
from training.monitor import pairs
from training.monitor.baseline import Baseline
from training.monitor.problems import Problem, Problems
from training.monitor.truth import agreed

LEAST_LABELS = 50
"""Fewer rows with a label say nothing."""
Z = 1.96
MAX_SEGMENTS = 50
OTHERS = "(others)"
LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass
class Sums:
    """Sums of one variant (or one segment of it). `terms` are kept by part, so that they add up in one order."""

    rows: int = 0
    hits: int = 0
    terms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, terms: Mapping[str, Sequence[float]], rows: int, hits: int) -> None:
        """Take in the rows of a part."""
        self.rows += rows
        self.hits += hits
        for name, values in terms.items():
            self.terms.setdefault(name, []).append(math.fsum(values))

    def mean(self, name: str) -> float:
        """The mean of a term over the rows."""
        return math.fsum(self.terms.get(name, ())) / self.rows

    def figures(self, task: Task) -> dict[Monitored, Figure]:
        """The metrics; none where there are too few rows."""
        if self.rows < LEAST_LABELS:
            return {}
        if task is Task.CLASSIFICATION:
            found = {Monitored.ACCURACY: wilson(self.hits, self.rows)}
            if self.mean("with odds") == 1.0:
                found[Monitored.LOG_LOSS] = self._around("loss", "loss2")
            return found
        found = {Monitored.MAE: self._around("|e|", "e2")}
        mean, squares = self.mean("u"), self.mean("u2")
        variance = squares - mean**2
        if variance > 0.0:
            error = self.mean("e2")
            lost = error / variance
            # The mean of (e2 - lost * (u - mean) ** 2) ** 2, spelt out in moments.
            fourth = self.mean("u4") - 4 * mean * self.mean("u3") + 6 * mean**2 * squares - 3 * mean**4
            cross = self.mean("e2u2") - 2 * mean * self.mean("e2u") + mean**2 * error
            spread = max(self.mean("e4") - 2 * lost * cross + lost**2 * fourth, 0.0)
            half = Z * math.sqrt(spread / self.rows) / variance
            found[Monitored.R2] = Figure(1 - lost, 1 - lost - half, min(1 - lost + half, 1.0))
        return found

    def _around(self, name: str, square: str) -> Figure:
        mean = self.mean(name)
        half = Z * math.sqrt(max(self.mean(square) - mean**2, 0.0) / self.rows)
        return Figure(mean, max(mean - half, 0.0), mean + half)


def wilson(hits: int, rows: int) -> Figure:
    """A share with Wilson's interval."""
    share, squared = hits / rows, Z * Z
    centre = (share + squared / (2 * rows)) / (1 + squared / rows)
    half = Z / (1 + squared / rows) * math.sqrt(share * (1 - share) / rows + squared / (4 * rows * rows))
    return Figure(share, max(centre - half, 0.0), min(centre + half, 1.0))


@dataclass
class Judged:
    """One variant: all of it, and by segment."""

    task: Task
    whole: Sums = field(default_factory=Sums)
    segments: dict[str, Sums] = field(default_factory=dict)


@dataclass
class _Row:
    identity: str
    number: int
    truth: Any
    said: Any
    odds: Sequence[float] | None
    segment: str


def judge(folder: Path, baselines: Mapping[str, Baseline], problems: Problems) -> dict[str, Judged]:
    """Join both sides, part by part, and sum up by variant."""
    found: dict[str, Judged] = {}
    for part in range(pairs.PARTS):
        labels = agreed(pairs.lines(folder, "truth", part), problems)
        used: set[str] = set()
        by_variant: dict[str, list[_Row]] = {}
        told = list(pairs.lines(folder, "told", part))
        times: dict[str, int] = {}
        for identity, _ in told:
            times[identity] = times.get(identity, 0) + 1
        problems[Problem.AMBIGUOUS] += sum(count > 1 for count in times.values())
        for identity, (variant, values, odds, segments) in told:
            truth = labels.get(identity)
            if truth is None or times[identity] > 1:
                used |= {identity} if times[identity] > 1 else set()
                continue
            used.add(identity)
            rows = by_variant.setdefault(variant, [])
            for number, (label, value) in enumerate(zip(truth, values, strict=False)):
                segment = "" if segments is None else str(segments[number])
                rows.append(_Row(identity, number, label, value, odds[number] if odds else None, segment))
        problems[Problem.UNMATCHED] += len(labels.keys() - used)
        for variant in sorted(by_variant):
            _add(found, variant, baselines[variant], by_variant[variant], problems)
    return found


def _add(found: dict[str, Judged], variant: str, baseline: Baseline, rows: list[_Row], problems: Problems) -> None:
    rows.sort(key=lambda row: (row.identity, row.number))
    judged = found.setdefault(variant, Judged(baseline.task))
    good = [row for row in rows if _fits(row, baseline.task)]
    problems[Problem.LABEL] += sum(row.truth is not None for row in rows) - len(good)
    _sum(judged.whole, good, baseline)
    segments: dict[str, list[_Row]] = {}
    for row in good:
        if row.segment:
            segments.setdefault(row.segment, []).append(row)
    for name, some in sorted(segments.items()):
        known = name if name in judged.segments or len(judged.segments) < MAX_SEGMENTS else OTHERS
        _sum(judged.segments.setdefault(known, Sums()), some, baseline)


def _fits(row: _Row, task: Task) -> bool:
    if row.truth is None or row.said is None:
        return False
    if task is Task.CLASSIFICATION:
        return True
    return all(type(value) in (int, float) and math.isfinite(value) for value in (row.truth, row.said))


def _sum(sums: Sums, rows: Sequence[_Row], baseline: Baseline) -> None:
    if not rows:
        return
    if baseline.task is Task.CLASSIFICATION:
        classes = () if baseline.prediction is None else baseline.prediction.levels
        hits = sum(_class(row.truth) == _class(row.said) for row in rows)
        losses = list(_losses(rows, [str(one) for one in classes]))
        terms = {"loss": losses, "loss2": [loss * loss for loss in losses], "with odds": [1.0] * len(losses)}
        sums.add(terms, len(rows), hits)
        return
    errors = [float(row.said) - float(row.truth) for row in rows]
    away = [float(row.truth) - baseline.target_mean for row in rows]
    both = list(zip(errors, away, strict=True))
    sums.add(
        {
            "|e|": [abs(e) for e in errors],
            "e2": [e**2 for e in errors],
            "e4": [e**4 for e in errors],
            "u": away,
            "u2": [u**2 for u in away],
            "u3": [u**3 for u in away],
            "u4": [u**4 for u in away],
            "e2u": [e**2 * u for e, u in both],
            "e2u2": [e**2 * u**2 for e, u in both],
        },
        len(rows),
        0,
    )


def _losses(rows: Sequence[_Row], classes: Sequence[str]) -> Iterator[float]:
    for row in rows:
        name = _class(row.truth)
        if row.odds is not None and len(row.odds) == len(classes):
            share = row.odds[classes.index(name)] if name in classes else 0.0  # a class it does not know
            yield -math.log(max(float(share), LEAST_PROBABILITY))


def _class(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
