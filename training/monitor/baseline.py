"""`drift.json`: the cells of every column, and the cells of consecutive training rows, which windows are held against.

The rows are at most 65,536 of the training part in up to 16 runs of consecutive ones, spread over it; a byte a value,
compressed. So one file of a megabyte or two lies beside the model, and the training data are not needed again.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import orjson
from pydantic import Field, ValidationError

from inference.contract.schema import Floats, Frozen, Kind, Task
from training import storage
from training.errors import DataError
from training.monitor.scales import PREDICTION, Codes, Scale

FILE = "drift.json"
MAX_ROWS, RUNS = 65_536, 16
MAX_BYTES = 256 * 2**20
"""Of unfolded codes; a file that says more is not ours."""
HOURS = 24
NO_HOUR = 255


class Baseline(Frozen):
    """What the training rows were like, as cells.

    Attributes:
        model: the model's name.
        sha256: of its archive, 64 hex digits; its first 12 stand in every answer.
        task: what it predicts.
        target: the column that it predicts.
        rows: how many training rows there were; the series holds some of them.
        columns: the inputs, in the order of the schema.
        prediction: the model's own answers for the rows of the series.
        clock: the column that tells the hour of the day, and how; None where none does.
        length: rows of the series.
        series: cells of the monitored columns, then of the prediction, then hours; zlib, base64.
    """

    format: Literal[2] = 2
    model: str
    sha256: str = ""
    task: Task
    target: str
    rows: int
    columns: tuple[Scale, ...]
    prediction: Scale | None = None
    clock: str | None = None
    clock_is_time: bool = True
    target_mean: float = 0.0
    length: int = Field(ge=0)
    series: str

    @property
    def version(self) -> str:
        """What the model calls itself in its answers."""
        return self.sha256[:12]

    @cached_property
    def monitored(self) -> tuple[Scale, ...]:
        """The columns whose drift is looked for."""
        return tuple(scale for scale in self.columns if scale.monitored)

    @cached_property
    def _table(self) -> Codes:
        width = len(self.monitored) + 2
        wanted = self.length * width
        unfolded = zlib.decompressobj().decompress(base64.b64decode(self.series), min(wanted + 1, MAX_BYTES))
        if len(unfolded) != wanted:
            raise DataError(f"{FILE} of {self.model}: holds {len(unfolded)} cells, not {wanted}: damaged, train again")
        return np.frombuffer(unfolded, dtype=np.uint8).reshape(width, self.length).T

    @property
    def codes(self) -> Codes:
        """Cells of the monitored columns, shape (length, columns)."""
        return self._table[:, :-2]

    @property
    def answers(self) -> Codes | None:
        """Cells of the predictions, shape (length,); None where the baseline has none."""
        return None if self.prediction is None else self._table[:, -2]

    @property
    def hours(self) -> Codes | None:
        """The hour of the day of each row; None where no column tells it."""
        return None if self.clock is None else self._table[:, -1]

    def weights(self, traffic: Floats) -> Floats | None:
        """What makes the series have a window's hours, shape (length,) with mean 1; None where all rows count alike.

        Args:
            traffic: rows of the window by hour of the day, shape (24,).

        A window of hours that the baseline does not have is held against all of it.
        """
        hours = self.hours
        if hours is None or not traffic.sum():
            return None
        there = np.bincount(hours, minlength=NO_HOUR + 1)[:HOURS].astype(np.float64)
        wanted = np.where(there > 0, traffic, 0.0)
        if not wanted.sum():
            return None
        factor = np.zeros(NO_HOUR + 1)
        np.divide(wanted, there, out=factor[:HOURS], where=there > 0)
        weights = factor[hours]
        return np.asarray(weights / weights.mean())

    @classmethod
    def packed(cls, codes: Codes, answers: Codes | None, hours: Codes | None, **fields: Any) -> Self:
        """With the series from its parts."""
        length = len(codes)
        none = np.zeros(length, dtype=np.uint8)
        table = np.column_stack([codes, none if answers is None else answers, none if hours is None else hours])
        series = base64.b64encode(zlib.compress(np.ascontiguousarray(table.T).tobytes(), 6)).decode()
        return cls(length=length, series=series, **fields)

    def dump(self) -> bytes:
        """The file's content."""
        return orjson.dumps(self.model_dump(mode="json"))


def load(place: Path | str) -> Baseline:
    """Read a baseline, here or in S3: the file, or the folder (or the prefix, or the archive's key) that it lies in.

    Raises:
        DataError: there is none, or it is not one.
    """
    name = storage.name(place)
    if name.endswith(".tar.gz"):
        name = name.rpartition("/")[0]
    path = name if name.endswith(".json") else f"{name.rstrip('/')}/{FILE}"
    content = storage.read_bytes(path)
    if content is None:
        raise DataError(f"{path}: no such baseline: train the model again, and put {FILE} beside its archive")
    try:
        return Baseline.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its beginning"
        raise DataError(f"{path}: is no baseline of this version ({where}: {first['msg']}): train again") from None


def runs(rows: int) -> list[range]:
    """Which training rows the series takes: all, or runs of consecutive ones spread over them."""
    if rows <= MAX_ROWS:
        return [range(rows)]
    size = MAX_ROWS // RUNS
    starts: Sequence[int] = np.linspace(0, rows - size, RUNS).round().astype(np.int64).tolist()
    return [range(start, start + size) for start in starts]


def prediction_scale(values: Floats | Sequence[str | int], classes: Sequence[str | int]) -> Scale:
    """Cells of a model's answers: deciles of numbers, or its classes."""
    if classes:
        return Scale(name=PREDICTION, kind=Kind.CATEGORICAL, levels=tuple(str(one) for one in classes))
    numbers = np.asarray(values, dtype=np.float64)
    deciles = np.quantile(numbers, np.arange(11) / 10.0).tolist()
    return Scale.of_numbers(PREDICTION, Kind.NUMERIC, deciles, float(numbers.mean()), float(numbers.std()))
