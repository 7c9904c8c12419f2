"""The rows and the answers of a captured record, in every content type that the server speaks.

A row is a tuple of the values of the input columns in the schema's order, as JSON has them; of one that comes with its
history, the row alone. What has other columns is None.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson

from inference.contract import npy
from inference.contract.codecs import ARROW, CSV, JSON, JSON_LINES, NPY, PARQUET, csv_header
from inference.contract.errors import InputError
from inference.contract.schema import Kind
from training.monitor.scales import Scale

Row = tuple[Any, ...]


class Answers(NamedTuple):
    """What a model said: a value a row (a number, or a class), its probabilities, and the model's version."""

    values: Sequence[Any]
    probabilities: Sequence[Sequence[float]] | None = None
    version: str = ""


class PayloadError(ValueError):
    """A body that is not what its content type says."""


class Rows:
    """Reads the rows of one schema."""

    def __init__(self, columns: Sequence[Scale], target: str) -> None:
        self.names = tuple(column.name for column in columns)
        self._kinds = {column.name: column.kind for column in columns}
        self._target = target
        self._count = len(columns)
        pick = itemgetter(*self.names) if self._count > 1 else None
        self.pick: Callable[[Mapping[str, Any]], Row] = pick or (lambda row: (row[self.names[0]],))

    def read(self, body: bytes | str, content_type: str, header: str) -> list[Row | None]:
        """All rows of a body.

        Raises:
            PayloadError: it is not of that type.
        """
        if content_type == JSON:
            return self.of_json(_json(body))
        if content_type == JSON_LINES:
            return [self._row(_json(line)) for line in body.splitlines() if line.strip()]
        raw = body.encode() if isinstance(body, str) else body
        if content_type == CSV:
            return self._csv(raw.decode("utf-8-sig", errors="replace"), header)
        if content_type == NPY:
            return self._npy(raw)
        if content_type in (ARROW, PARQUET):
            return self._table(raw, parquet=content_type == PARQUET)
        raise PayloadError(f"content type {content_type!r}")

    def of_json(self, parsed: Any) -> list[Row | None]:
        """All rows of a JSON body.

        Raises:
            PayloadError: it has no rows.
        """
        if isinstance(parsed, dict):
            parsed = parsed.get("instances", parsed.get("inputs"))
        if not isinstance(parsed, list):
            raise PayloadError("no array of rows")
        return [self._row(one) for one in parsed]

    def _row(self, instance: Any) -> Row | None:
        if isinstance(instance, list):
            return tuple(instance) if len(instance) == self._count else None
        if not isinstance(instance, dict):
            return None
        if "row" in instance and "row" not in self._kinds:
            return self._row(instance["row"])
        if len(instance) != self._count and not (len(instance) == self._count + 1 and self._target in instance):
            return None
        try:
            return self.pick(instance)
        except KeyError:
            return None

    def _csv(self, text: str, header: str) -> list[Row | None]:
        try:
            lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
        except csv.Error as error:
            raise PayloadError(str(error)) from None
        names: tuple[str, ...] = self.names
        first = tuple(cell.strip() for cell in lines[0]) if lines else ()
        said = csv_header(header)
        if said or (said is None and set(names) & set(first)):
            names, lines = first, lines[1:]
        if any(len(line) != len(names) for line in lines):
            return [self._row(self._cells(names, line)) if len(line) == len(names) else None for line in lines]
        return [self._row(self._cells(names, line)) for line in lines]

    def _cells(self, names: Sequence[str], line: Sequence[str]) -> dict[str, Any]:
        return {name: _untexted(cell.strip(), self._kinds.get(name)) for name, cell in zip(names, line, strict=True)}

    def _npy(self, raw: bytes) -> list[Row | None]:
        try:
            values = npy.read(raw)
        except InputError as error:
            raise PayloadError(str(error)) from None
        if values.shape[1] != self._count:
            return [None] * len(values)
        return [tuple(None if math.isnan(one) else one for one in row) for row in values.tolist()]

    def _table(self, raw: bytes, *, parquet: bool) -> list[Row | None]:
        columns = _arrow(raw, parquet=parquet)
        length = len(next(iter(columns.values()), ()))
        if not set(self.names) <= set(columns) <= {*self.names, self._target}:
            return [None] * length
        return list(zip(*(_plain(columns[name]) for name in self.names), strict=True))


def answers(body: bytes | str, content_type: str) -> Answers:
    """The predictions of an answer; of a classification in JSON its labels.

    Raises:
        PayloadError: it has none, or is not of that type.
    """
    if content_type == JSON:
        return of_json(_json(body))
    if content_type == JSON_LINES:
        return _of_lines([_json(line) for line in body.splitlines() if line.strip()])
    raw = body.encode() if isinstance(body, str) else body
    if content_type == CSV:
        return Answers([_number_or_text(line.strip()) for line in raw.decode(errors="replace").splitlines() if line])
    try:
        if content_type == NPY:
            return Answers(npy.read(_matrix(raw)).ravel().tolist())
    except InputError as error:
        raise PayloadError(str(error)) from None
    if content_type in (ARROW, PARQUET):
        found = _arrow(raw, parquet=content_type == PARQUET).get("prediction")
        if found is None:
            raise PayloadError("no column 'prediction'")
        return Answers(_plain(found))
    raise PayloadError(f"content type {content_type!r}")


def of_json(parsed: Any) -> Answers:
    """The predictions of a JSON answer.

    Raises:
        PayloadError: it has none.
    """
    if not isinstance(parsed, dict) or not isinstance(parsed.get("predictions"), list):
        raise PayloadError("no 'predictions'")
    labels = parsed.get("labels")
    values = labels if isinstance(labels, list) else parsed["predictions"]
    return Answers(values, parsed.get("probabilities"), str(parsed.get("model_version", "")))


def _of_lines(lines: Sequence[Any]) -> Answers:
    if not lines or not all(isinstance(one, dict) and "prediction" in one for one in lines):
        raise PayloadError("no 'prediction'")
    values = [one.get("label", one["prediction"]) for one in lines]
    odds = [one["probabilities"] for one in lines] if all("probabilities" in one for one in lines) else None
    return Answers(values, odds, str(lines[0].get("model_version", "")))


def _json(body: bytes | str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError(str(error)) from None


def _untexted(cell: str, kind: Kind | None) -> Any:
    """A CSV cell as JSON has it; what is no number in a column of numbers stays a text, and counts as one."""
    if cell == "":
        return None
    if kind is None or kind is Kind.CATEGORICAL:
        return cell
    return _number_or_text(cell)


def _number_or_text(cell: str) -> Any:
    try:
        return int(cell) if cell.lstrip("+-").isdigit() else float(cell)
    except ValueError:
        return cell


def _matrix(raw: bytes) -> bytes:
    """An .npy file of one dimension as one of two, which is what the contract reads."""
    array = np.load(io.BytesIO(raw), allow_pickle=False) if raw.startswith(npy.MAGIC) else None
    if array is None or array.ndim != 1 or array.dtype.kind not in "fiu":
        return raw
    return npy.write(array.reshape(-1, 1))


def _arrow(raw: bytes, *, parquet: bool) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415  # only where it is used

    from inference.contract import arrow  # noqa: PLC0415  # likewise

    try:
        table = arrow.unpacked(raw, parquet=parquet)
    except (pa.ArrowException, OSError, ValueError, InputError) as error:
        raise PayloadError(str(error).splitlines()[0]) from None
    return {name: table.column(name) for name in table.column_names}


def _plain(column: Any) -> list[Any]:
    """Python's values as JSON has them: NaN is missing, a time is a text."""
    return [_as_json(value) for value in column.to_pylist()]


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value.isoformat() if isinstance(value, date) else value  # a datetime is one
