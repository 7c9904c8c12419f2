"""From counts to findings: each column's index beside what chance alone would give, and the metrics of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inference.contract.metrics import Monitored
from inference.contract.schema import Floats
from training.monitor import chance
from training.monitor.baseline import Baseline
from training.monitor.chance import Chance, Drawn
from training.monitor.indices import jensen_shannon, kolmogorov_smirnov, psi
from training.monitor.judging import Judged
from training.monitor.scales import Cells, Scale
from training.monitor.sums import Figure
from training.monitor.tally import ColumnTally, Tally

LEAST_ROWS = 200
"""A window with fewer rows publishes only how many records it had: an index of so few would mean nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnFinding:
    """One column, or the predictions.

    Attributes:
        index: the population stability index as it was counted.
        corrected: without what chance adds on average; at least 0.
        chance: the index without drift; None where there are no rows to draw it from.
        drifted: beyond the 1 % level, corrected for the number of columns; never for a column that is not monitored.
        ks, js: further distances, for the report.
        missing: share of missing values; violations, outside, unseen: shares of values of another type, beyond the
            training rows' range, and of levels that training did not have.
        then, now: shares by cell.
    """

    scale: Scale
    count: int
    index: float
    corrected: float
    chance: Chance | None
    drifted: bool
    ks: float | None
    js: float
    missing: float
    missing_then: float
    violations: float
    outside: float
    unseen: float
    then: Floats
    now: Floats
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, eq=False)
class VariantFinding:
    """One model behind one variant.

    Attributes:
        known: whether the baseline is this model's.
        records, rows: read of it.
        columns: the worst first.
        drawn: how chance was drawn; None with too few rows.
        quality: metrics where the truth is known, `segments` likewise by segment.
    """

    variant: str
    version: str
    known: bool
    records: int
    rows: int
    first: str
    last: str
    columns: tuple[ColumnFinding, ...]
    prediction: ColumnFinding | None
    drawn: Drawn | None
    judged: Judged | None = None
    quality: Mapping[Monitored, Figure] = field(default_factory=dict)
    segments: Mapping[str, tuple[int, Mapping[Monitored, Figure]]] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Whether there are rows enough for a number to mean something."""
        return self.rows >= LEAST_ROWS

    @property
    def monitored(self) -> list[ColumnFinding]:
        """The columns whose drift is looked for, the worst first."""
        return [column for column in self.columns if column.scale.monitored]

    @property
    def drifted(self) -> list[ColumnFinding]:
        """The columns that drifted."""
        return [column for column in self.columns if column.drifted]


def of(variant: str, version: str, tally: Tally, baseline: Baseline, judged: Judged | None) -> VariantFinding:
    """The findings of one model behind one variant."""
    known = version == baseline.version or not baseline.version
    drawn, weights = None, None
    if known and tally.rows >= LEAST_ROWS and baseline.length:
        weights = baseline.weights(tally.hours.astype(np.float64))
        drawn = _drawn(baseline, tally.rows, weights)
    names = [scale.name for scale in baseline.monitored]
    columns = []
    for column in tally.columns:
        place = names.index(column.scale.name) if column.scale.name in names else None
        then = None if place is None else chance.counts_of(baseline.codes[:, place], column.scale.size, weights)
        luck = None if drawn is None or place is None else drawn.columns[place]
        columns.append(_finding(column, then, luck))
    prediction = None
    if tally.prediction is not None and baseline.answers is not None:
        then = chance.counts_of(baseline.answers, tally.prediction.scale.size, weights)
        luck = None if drawn is None or tally.prediction.seen < LEAST_ROWS else drawn.columns[-1]
        prediction = _finding(tally.prediction, then, luck)
    columns.sort(key=lambda one: (not one.scale.monitored, not one.drifted, -one.corrected, one.scale.name))
    quality = {} if judged is None else judged.whole.figures(judged.task)
    segments = (
        {}
        if judged is None
        else {name: (sums.rows, sums.figures(judged.task)) for name, sums in judged.segments.items()}
    )
    return VariantFinding(
        variant, version, known, tally.records, tally.rows, tally.first, tally.last, tuple(columns), prediction, drawn,
        judged, quality, segments,
    )  # fmt: skip


def _drawn(baseline: Baseline, rows: int, weights: Floats | None) -> Drawn:
    """Chance for the columns, at the level corrected for their number; and for the predictions, which count alone."""
    codes, sizes = baseline.codes, [scale.size for scale in baseline.monitored]
    used = None if weights is None else weights > 0.0
    if used is not None and weights is not None:
        codes, weights = codes[used], weights[used] / weights[used].mean()
    columns = chance.draw(codes, sizes, rows, weights=weights)
    if baseline.answers is None or baseline.prediction is None:
        return columns
    answers = baseline.answers if used is None else baseline.answers[used]
    alone = chance.draw(answers[:, None], [baseline.prediction.size], rows, weights=weights)
    return Drawn((*columns.columns, *alone.columns), columns.block, columns.time, columns.effective)


def _finding(column: ColumnTally, then: Floats | Cells | None, luck: Chance | None) -> ColumnFinding:
    scale, seen = column.scale, column.seen
    index, js, ks = 0.0, 0.0, None
    if then is not None and seen:
        index = float(psi(column.cells, then))
        js, ks = jensen_shannon(column.cells, then), kolmogorov_smirnov(column.cells, then, scale)
    moments = column.moments()
    every = seen + column.violations
    numbers = max(seen - column.missing, 1)
    return ColumnFinding(
        scale=scale,
        count=every,
        index=index,
        corrected=max(index - (luck.mean if luck else 0.0), 0.0),
        chance=luck,
        drifted=luck is not None and seen > 0 and index > luck.bound,
        ks=ks,
        js=js,
        missing=column.missing / every if every else 0.0,
        missing_then=float(then[-1] / then.sum()) if then is not None and then.sum() else 0.0,
        violations=column.violations / every if every else 0.0,
        outside=column.outside / numbers,
        unseen=0.0 if scale.other is None else float(column.cells[scale.other]) / numbers,
        then=_shares(then, scale.size),
        now=_shares(column.cells, scale.size),
        mean=None if moments is None else moments[0],
        std=None if moments is None else moments[1],
        low=None if moments is None else column.low,
        high=None if moments is None else column.high,
    )


def _shares(counts: Floats | Cells | None, size: int) -> Floats:
    total = 0.0 if counts is None else float(np.sum(counts))
    return np.zeros(size) if counts is None or not total else np.asarray(counts, dtype=np.float64) / total


def metrics(found: VariantFinding, records: int) -> dict[Monitored, float]:
    """What is published of a variant; only RecordsRead where there is too little to say more.

    Args:
        found: of the model that the baseline is of.
        records: read of the variant, whichever model answered.
    """
    said = {Monitored.RECORDS_READ: float(records)}
    if found.known and found.enough and found.drawn is not None:
        watched = found.monitored
        if watched:
            said[Monitored.FEATURE_DRIFT] = max(column.corrected for column in watched)
            said[Monitored.DRIFTED_COLUMNS] = float(len(found.drifted))
        every = [column for column in found.columns if column.count]
        if every:
            said[Monitored.MISSING_SHARE] = max(column.missing for column in every)
        if found.prediction is not None and found.prediction.chance is not None:
            said[Monitored.PREDICTION_DRIFT] = found.prediction.corrected
    said |= {name: figure.value for name, figure in found.quality.items()}
    return said


def worst(findings: Sequence[VariantFinding]) -> VariantFinding | None:
    """The variant that drifted most."""
    return max(
        findings, key=lambda one: (len(one.drifted), max((c.corrected for c in one.columns), default=0.0)), default=None
    )
