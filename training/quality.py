"""What is odd about the data before anything is learnt from them: missing, constant, copied and leaking columns.

A column leaks when it tells the target of its own row: it will not be there when the model is asked, or the model is
not needed. Looked for on raw inputs of the same row, without lags, in the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats, Kind, Task
from training.config import TrainConfig
from training.dataset import Dataset, Part
from training.errors import DataError
from training.profile import Profile, look

LEAK_ALONE, LEAK_TOGETHER, SUSPECT = 0.99, 0.999, 0.9
"""R² for the target from which one column, or a least-squares fit of all numeric ones, is refused; or is odd."""
LEAST_ROWS = 30
"""A fit to fewer rows says nothing."""
ROWS_A_COLUMN = 10
"""Nor does one to fewer rows a column."""
MOSTLY_MISSING = 0.5
RARE_ROWS, DOMINANT = 10, 0.95
MAX_CLASSES = 50
_DEPENDENT = 1e-9  # eigenvalues of correlated columns below this share are rounding


@dataclass(frozen=True, slots=True)
class ColumnQuality:
    """One column.

    Attributes:
        missing: share of all rows without a value.
        constant: whether the training rows have one value at most.
        r2: of the target by this column alone; None where that says nothing.
    """

    name: str
    kind: Kind
    missing: float
    constant: bool
    r2: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """The report.

    Attributes:
        together: R² of the target by all numeric inputs (None: too few rows or columns), and `by`, the few columns that
            are enough for a leak.
        copies: pairs of columns with the same values in all rows.
        balance: training rows of each class; empty for a regression.
        allowed: columns that leak and were allowed.
    """

    columns: tuple[ColumnQuality, ...]
    together: float | None
    by: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]
    balance: dict[str, int]
    allowed: tuple[str, ...]
    warnings: tuple[str, ...]


def inspect(dataset: Dataset, config: TrainConfig, profile: Profile | None = None) -> Quality:
    """Look at the data; `profile` is that of the training rows.

    Raises:
        DataError: columns give the target away and are not allowed to (`allow_leak`); names them all.
    """
    found = _Look(dataset, config, look(dataset) if profile is None else profile)
    alone = found.alone()
    together, by = found.together([name for name, r2 in alone.items() if r2 is None or r2 < LEAK_ALONE])
    leaks = {name: r2 for name, r2 in alone.items() if r2 is not None and r2 >= LEAK_ALONE}
    problems = [
        f"column {name!r} gives the target {config.target!r} away: R² {r2:.4f} on the same row"
        for name, r2 in leaks.items()
        if name not in config.allow_leak
    ]
    if refused := [name for name in by if name not in config.allow_leak]:
        problems.append(
            f"columns {', '.join(by)} together give the target {config.target!r} away:"
            f" least squares of them has R² {together:.4f} on the same row"
        )
    if problems:
        names = ",".join(dict.fromkeys([*(n for n in leaks if n not in config.allow_leak), *refused]))
        raise DataError(f"{config.data}: {'; '.join(problems)}: drop them (drop {names}) or say that a request has them"
                        f" (allow-leak {names})")  # fmt: skip
    columns, copies = found.columns(alone)
    balance = found.balance()
    warnings = [
        *(
            f"column {name!r} alone explains {r2:.2f} of the target's variance on the same row: is it known in time?"
            for name, r2 in alone.items()
            if r2 is not None and SUSPECT <= r2 < LEAK_ALONE
        ),
        *(f"column {name!r} leaks the target (R² {r2:.4f}) and was allowed" for name, r2 in leaks.items()),
        *(
            f"{column.missing:.0%} of column {column.name!r} is missing"
            for column in columns
            if column.missing >= MOSTLY_MISSING
        ),
        *(f"columns {first!r} and {second!r} hold the same values: drop one" for first, second in copies),
        *_of_classes(balance),
    ]
    if by:
        warnings.append(f"columns {', '.join(by)} together leak the target (R² {together:.4f}) and were allowed")
    return Quality(columns, together, by, copies, balance, tuple(dict.fromkeys([*leaks, *by])), tuple(warnings))


def _of_classes(balance: dict[str, int]) -> Iterator[str]:
    total = sum(balance.values())
    for name, count in balance.items():
        if count < RARE_ROWS:
            yield f"class {name!r} has {count} training rows: too few to learn or to judge by"
        elif count >= DOMINANT * total:
            yield f"class {name!r} is {count / total:.1%} of the training rows: accuracy says little, look at auc"


class _Look:
    """Passes over the training rows, in chunks of one size: the settings change no result."""

    def __init__(self, dataset: Dataset, config: TrainConfig, profile: Profile) -> None:
        self.dataset = dataset
        self.target = dataset.index(dataset.target)
        self.inputs = [index for index in range(len(dataset.columns)) if index != self.target]
        self.numeric = [i for i in self.inputs if dataset.columns[i].kind in (Kind.NUMERIC, Kind.INTEGER)]
        kind = dataset.kind(dataset.target)
        classes = kind is Kind.CATEGORICAL or (config.task is Task.CLASSIFICATION and kind is Kind.INTEGER)
        self.classes = self._count(self.target) if classes else {}
        every = profile.moments
        self.count, self.mean = every.count, every.mean
        self.std = np.where(every.std > 0.0, every.std, 1.0)
        self.varies = every.std > 0.0

    def _chunks(self) -> Iterator[Floats]:
        return self.dataset.part(Part.TRAIN)

    def _count(self, column: int) -> dict[float, int]:
        counts: dict[float, int] = {}
        for chunk in self._chunks():
            values, numbers = np.unique(chunk[~np.isnan(chunk[:, column]), column], return_counts=True)
            for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number
        return counts

    def _scaled(self, chunk: Floats, columns: list[int]) -> Floats:
        return np.asarray((chunk[:, columns] - self.mean[columns]) / self.std[columns])

    def _targets(self, chunk: Floats) -> Floats:
        """The scaled target, or an indicator a class, shape (rows, k); NaN where it is missing."""
        if not self.classes:
            return self._scaled(chunk, [self.target])
        here = chunk[:, [self.target]]
        most = sorted(self.classes, key=lambda value: (-self.classes[value], value))[:MAX_CLASSES]
        hits: Floats = (here == np.array(most)).astype(np.float64)
        hits[np.isnan(here[:, 0])] = np.nan
        return hits

    def alone(self) -> dict[str, float | None]:
        """R² of the target by each input on the rows that have both: linear for numbers, by levels for texts."""
        names = [self.dataset.columns[index].name for index in self.inputs]
        result: dict[str, float | None] = dict.fromkeys(names)
        result.update(self._linear())
        for index in self.inputs:
            column = self.dataset.columns[index]
            if column.kind is Kind.CATEGORICAL:
                result[column.name] = self._by_level(index, len(self.dataset.spill.texts.get(column.name, ())))
        return result

    def _linear(self) -> dict[str, float | None]:
        sums: list[Floats] = []
        for chunk in self._chunks():
            x, y = self._scaled(chunk, self.numeric), self._targets(chunk)
            there, known = (~np.isnan(x)).astype(np.float64), (~np.isnan(y)).astype(np.float64)
            x, y = np.nan_to_num(x), np.nan_to_num(y)
            sums.append(
                np.stack([there.T @ known, x.T @ known, there.T @ y, (x * x).T @ known, there.T @ (y * y), x.T @ y])
            )
        if not sums or not self.numeric:
            return {}
        n, x1, y1, x2, y2, xy = np.sum(sums, axis=0)
        safe = np.maximum(n, 1.0)
        x_var, y_var, both = x2 - x1 * x1 / safe, y2 - y1 * y1 / safe, xy - x1 * y1 / safe
        explained = np.where(x_var > _DEPENDENT * safe, both * both / np.maximum(x_var, 1e-300), 0.0).sum(axis=1)
        total = y_var.sum(axis=1)
        return {
            self.dataset.columns[index].name: float(min(explained[row] / total[row], 1.0))
            for row, index in enumerate(self.numeric)
            if n[row].min() >= LEAST_ROWS and total[row] > 0.0 and self.varies[index]
        }

    def _by_level(self, index: int, levels: int) -> float | None:
        counts, sums, squares = np.zeros(levels), np.zeros((levels, 0)), 0.0
        for chunk in self._chunks():
            y, codes = self._targets(chunk), chunk[:, index]
            known = ~np.isnan(codes) & ~np.isnan(y).any(axis=1)
            y, place = y[known], codes[known].astype(np.int64)
            if not sums.shape[1]:
                sums = np.zeros((levels, y.shape[1]))
            counts += np.bincount(place, minlength=levels)
            np.add.at(sums, place, y)
            squares += float((y * y).sum())
        rows, seen = counts.sum(), int((counts > 0).sum())
        if rows < LEAST_ROWS or rows < ROWS_A_COLUMN * seen:
            return None
        mean = float((sums.sum(axis=0) ** 2).sum() / rows)
        between = float((sums[counts > 0] ** 2 / counts[counts > 0, None]).sum()) - mean
        return min(between / (squares - mean), 1.0) if squares > mean else None

    def together(self, names: list[str]) -> tuple[float | None, tuple[str, ...]]:
        """R² of least squares by the numeric inputs among these; and, for a leak, the columns that suffice for it."""
        total = self.dataset.sizes[Part.TRAIN]
        used = [
            i
            for i in self.numeric
            if self.varies[i] and self.count[i] > MOSTLY_MISSING * total and self.dataset.columns[i].name in names
        ]
        if len(used) < 2:  # one column is its own story
            return None, ()
        rows, gram = 0, np.zeros((0, 0))
        for chunk in self._chunks():
            both = np.column_stack([self._scaled(chunk, used), self._targets(chunk), np.ones(len(chunk))])
            both = both[~np.isnan(both).any(axis=1)]
            rows += len(both)
            gram = both.T @ both + (gram if gram.size else 0.0)
        if rows < max(LEAST_ROWS, ROWS_A_COLUMN * len(used)):
            return None, ()
        ones = gram[-1, :-1] / rows
        spread = gram[:-1, :-1] - rows * np.outer(ones, ones)
        r2 = _explained(spread, list(range(len(used))), len(used))
        if r2 is None or r2 < LEAK_TOGETHER:
            return r2, ()
        chosen: list[int] = []
        while (_explained(spread, chosen, len(used)) or 0.0) < LEAK_TOGETHER and len(chosen) < len(used):
            rest = [column for column in range(len(used)) if column not in chosen]
            chosen.append(max(rest, key=lambda column: _explained(spread, [*chosen, column], len(used)) or 0.0))
        return r2, tuple(self.dataset.columns[used[column]].name for column in sorted(chosen))

    def columns(self, alone: dict[str, float | None]) -> tuple[tuple[ColumnQuality, ...], tuple[tuple[str, str], ...]]:
        """What there is to say of each column, and the pairs of equal ones."""
        every = self.dataset.columns
        missing = np.zeros(len(every), dtype=np.int64)
        prints = [0] * len(every)
        for start, chunk in self.dataset.spill.blocks():
            weights = _weights(start, len(chunk))
            for index in range(len(every)):
                values = chunk[:, index] + 0.0  # -0.0 is 0.0
                missing[index] += np.count_nonzero(np.isnan(values))
                prints[index] += int((values.view(np.uint64) * weights).sum(dtype=np.uint64))  # wraps around
        alike: dict[tuple[int, Kind], list[int]] = {}
        for index, column in enumerate(every):
            if missing[index] < self.dataset.spill.rows:
                alike.setdefault((prints[index], column.kind), []).append(index)
        pairs = [(group[0], other) for group in alike.values() for other in group[1:]]
        copies = [(every[first].name, every[other].name) for first, other in pairs if self._same(first, other)]
        found = tuple(
            ColumnQuality(
                column.name,
                column.kind,
                float(missing[index]) / self.dataset.spill.rows,
                not self.varies[index],
                alone.get(column.name),
            )
            for index, column in enumerate(every)
        )
        return found, tuple(copies)

    def _same(self, first: int, other: int) -> bool:
        """Whether two columns hold the same values in all rows."""
        pair = self.dataset.spill.only([self.dataset.columns[first].name, self.dataset.columns[other].name])
        return all(np.array_equal(both[:, 0], both[:, 1], equal_nan=True) for _, both in pair.blocks()) and (
            pair.texts.get(pair.names[0]) == pair.texts.get(pair.names[1])
        )

    def balance(self) -> dict[str, int]:
        """Training rows by class, the most frequent first."""
        texts = self.dataset.spill.texts.get(self.dataset.target)
        ranked = sorted(self.classes.items(), key=lambda pair: (-pair[1], pair[0]))
        return {texts[int(value)] if texts else f"{value:g}": count for value, count in ranked}


def _weights(start: int, rows: int) -> NDArray[np.uint64]:
    """An odd number a row, so that a sum over rows tells the same values in another order apart."""
    return np.arange(2 * start + 1, 2 * (start + rows) + 1, 2, dtype=np.uint64)


def _explained(spread: NDArray[np.float64], columns: list[int], inputs: int) -> float | None:
    """R² of the targets (behind the inputs) by least squares of these inputs, from their centred products."""
    total = float(np.trace(spread[inputs:, inputs:]))
    if total <= 0.0:
        return None
    if not columns:
        return 0.0
    cross = spread[np.ix_(columns, range(inputs, len(spread)))]
    weights, *_ = np.linalg.lstsq(spread[np.ix_(columns, columns)], cross, rcond=_DEPENDENT)
    return float(min((weights * cross).sum() / total, 1.0))
