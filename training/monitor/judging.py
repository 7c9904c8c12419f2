"""How good a model was where the truth is known: both sides joined part by part, and summed up by variant and segment.

Within a part rows are taken in the order of their ids, so that files, their order and readers change no digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference.contract.schema import Task
from training.monitor import pairs
from training.monitor.baseline import Baseline
from training.monitor.problems import Problem, Problems
from training.monitor.sums import Sums
from training.monitor.truth import agreed

MAX_SEGMENTS = 50
OTHERS = "(others)"
LEAST_PROBABILITY = 1e-15


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
    span: int
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
        for identity, (variant, span, values, odds, segments) in told:
            truth = labels.get(identity)
            if truth is None or times[identity] > 1:
                used |= {identity} if times[identity] > 1 else set()
                continue
            used.add(identity)
            rows = by_variant.setdefault(variant, [])
            for number, (label, value) in enumerate(zip(truth, values, strict=False)):
                segment = "" if segments is None else str(segments[number])
                rows.append(_Row(identity, number, span, label, value, odds[number] if odds else None, segment))
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
    place = np.array([row.span for row in rows], dtype=np.int64)
    if baseline.task is Task.CLASSIFICATION:
        classes = () if baseline.prediction is None else [str(one) for one in baseline.prediction.levels]
        losses = [_loss(row, classes) for row in rows]
        hits = [float(_class(row.truth) == _class(row.said)) for row in rows]
        sums.add(place, [hits, [loss or 0.0 for loss in losses], [float(loss is not None) for loss in losses]])
        return
    errors = np.array([float(row.said) - float(row.truth) for row in rows])
    away = np.array([float(row.truth) for row in rows]) - baseline.target_mean
    sums.add(place, [np.abs(errors), errors**2, away, away**2])


def _loss(row: _Row, classes: Sequence[str]) -> float | None:
    """The log loss of a row; None where its probabilities are not known."""
    if row.odds is None or len(row.odds) != len(classes):
        return None
    name = _class(row.truth)
    share = row.odds[classes.index(name)] if name in classes else 0.0  # a class it does not know
    return -math.log(max(float(share), LEAST_PROBABILITY))


def _class(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
