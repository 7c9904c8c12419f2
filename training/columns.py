"""From a column as it stands in a file to float64 values, with its kind found on the way.

The first value of a column decides: a number, a truth value, an ISO date or time, or a text; later values must agree,
save that an integer column becomes numeric at its first fraction. So the kind does not depend on where a chunk ends.
Texts become codes in the order of their first appearance; the transform's levels come later, from training rows only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inference.contract.converters import EXACT
from inference.contract.schema import Floats, Kind
from training.errors import DataError

MAX_TEXTS = 100_000
"""A column with more distinct texts is an identifier or prose; its dictionary would not stay in bounds."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_TRUTH = {"true": 1.0, "false": 0.0}


class Form(StrEnum):
    """What the values of a column look like."""

    INTEGER = "integers"
    NUMBER = "numbers"
    TRUTH = "true and false"
    TIME = "dates or times"
    TEXT = "texts"


_KINDS = {
    Form.INTEGER: Kind.INTEGER,
    Form.NUMBER: Kind.NUMERIC,
    Form.TRUTH: Kind.INTEGER,
    Form.TIME: Kind.TIME,
    Form.TEXT: Kind.CATEGORICAL,
}


@dataclass
class ColumnReader:
    """Reads one column, chunk after chunk.

    Attributes:
        source: the file, for messages.
        as_text: whether its numbers are names.
        form: what its values look like, once there was one.
        codes: the code of each text seen.
        rows: how many rows were read.
    """

    source: str
    name: str
    as_text: bool = False
    form: Form | None = None
    codes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    _inexact: tuple[str, int, object] | None = None

    @property
    def kind(self) -> Kind:
        """The column's kind; one without any value counts as numeric, with all values missing."""
        return Kind.NUMERIC if self.form is None else _KINDS[self.form]

    def begin(self, source: str) -> None:
        """Go on with another file: messages name it and count its rows."""
        self.source, self.rows = source, 0

    def read(self, values: pa.Array) -> Floats:
        """The values as float64; a missing one is NaN.

        Raises:
            DataError: a value does not agree with those before, is infinite or not exact; names row and column.
        """
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        read = self._typed(values) if not _is_text(values.type) else self._texts(pc.utf8_trim_whitespace(values))
        self.rows += len(values)
        return read

    def _typed(self, values: pa.Array) -> Floats:
        """Values that a Parquet file has typed."""
        kind = values.type
        if pa.types.is_null(kind):
            return np.full(len(values), np.nan)
        if self.as_text and pa.types.is_integer(kind):
            return self._texts(values.cast(pa.string()))
        if pa.types.is_boolean(kind):
            self.form = self.form or Form.TRUTH
            return _floats(values.cast(pa.int8()))
        if pa.types.is_integer(kind):
            self.form = self.form or Form.INTEGER
            return self._finite(values, _floats(values))
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self.form = Form.NUMBER
            return self._finite(values, _floats(values.cast(pa.float64())))
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            self.form = self.form or Form.TIME
            return _seconds(values)
        raise DataError(
            f"{self.source}: column {self.name!r} holds {kind}: give numbers, texts or times,"
            f" or drop it (drop {self.name})"
        )

    def _texts(self, values: pa.Array) -> Floats:
        if self.form is None:
            self.form = self._first_form(values)
        match self.form:
            case None:
                return np.full(len(values), np.nan)
            case Form.TEXT:
                return self._coded(values)
            case Form.TIME:
                return self._times(values)
            case Form.TRUTH:
                return self._one_by_one(values, lambda text: _TRUTH[text.lower()])
            case Form.INTEGER | Form.NUMBER:
                return self._numbers(values)

    def _first_form(self, values: pa.Array) -> Form | None:
        index = pc.index(values.is_valid(), True).as_py()  # the value looked for
        if index < 0:
            return None
        text = values[index].as_py()
        if self.as_text:
            return Form.TEXT
        if text.lower() in _TRUTH:
            return Form.TRUTH
        if _NUMBER.fullmatch(text) or _INFINITE.fullmatch(text):  # the latter is refused as the number that it is
            return Form.INTEGER
        return Form.TIME if _is_time(text) else Form.TEXT

    def _coded(self, values: pa.Array) -> Floats:
        encoded = values.dictionary_encode()
        codes = self.codes
        lookup = np.array([codes.setdefault(text, len(codes)) for text in encoded.dictionary.to_pylist()], np.float64)
        if len(codes) > MAX_TEXTS:
            raise DataError(
                f"{self.source}: column {self.name!r} has more than {MAX_TEXTS} distinct texts, an identifier or prose:"
                f" drop it (drop {self.name})"
            )
        index = _floats(encoded.indices)
        missing = np.isnan(index)
        return np.where(missing, np.nan, np.append(lookup, np.nan)[np.where(missing, -1, index).astype(np.int64)])

    def _times(self, values: pa.Array) -> Floats:
        for kind in (pa.timestamp("us"), pa.timestamp("us", tz="UTC")):
            try:
                return _seconds(values.cast(kind))
            except pa.ArrowInvalid:
                continue
        return self._one_by_one(values, _iso_seconds)

    def _numbers(self, values: pa.Array) -> Floats:
        if self.form is Form.INTEGER:
            try:
                return self._finite(values, _floats(values.cast(pa.int64())))
            except pa.ArrowInvalid:
                pass  # not all are integers: they may still be numbers
        try:
            numbers = _floats(values.cast(pa.float64()))
        except pa.ArrowInvalid:
            numbers = self._one_by_one(values, _number)
        if self.form is Form.INTEGER and not _all_digits(values):
            self.form = Form.NUMBER
        return self._finite(values, numbers)

    def _one_by_one(self, values: pa.Array, convert: Callable[[str], float]) -> Floats:
        """The slow way, which knows where it fails."""
        numbers = np.full(len(values), np.nan)
        for row, text in enumerate(values.to_pylist()):
            if text is not None:
                try:
                    numbers[row] = convert(text)
                except (KeyError, ValueError):
                    raise self._odd(row, text) from None
        return numbers

    def _odd(self, row: int, text: str) -> DataError:
        seen = Form.NUMBER if self.form is Form.INTEGER else self.form
        what = "text" if not _NUMBER.fullmatch(text) else "a number"
        return DataError(
            f"{self._place(row)}: {text!r} is {what} where {seen} were seen: mend the value,"
            f" drop the column (drop {self.name}) or make all its values names (categorical {self.name})"
        )

    def _place(self, row: int) -> str:
        """Where a row of this chunk is; rows count from 1, without the header."""
        return f"{self.source}: row {self.rows + row + 1}, column {self.name!r}"

    def finish(self) -> None:
        """Say what only the whole column shows.

        Raises:
            DataError: an integer column holds an integer that float64 cannot.
        """
        if self.form is Form.INTEGER and self._inexact is not None:
            source, row, value = self._inexact
            raise DataError(
                f"{source}: row {row}, column {self.name!r}: {value} is not below 2**53, hence not exact:"
                f" make it a name (categorical {self.name}) or drop it (drop {self.name})"
            )

    def _finite(self, values: pa.Array, numbers: Floats) -> Floats:
        """The numbers, if none is infinite; remembers the first integer that a float64 cannot hold."""
        size = np.abs(numbers)
        if np.isinf(size).any():
            row = int(np.flatnonzero(np.isinf(size))[0])
            raise DataError(
                f"{self._place(row)}: {values[row].as_py()!r} is not finite:"
                " leave the cell empty if the value is missing"
            )
        if self._inexact is None and (size >= EXACT).any():
            row = int(np.flatnonzero(size >= EXACT)[0])
            self._inexact = (self.source, self.rows + row + 1, values[row].as_py())
        return numbers


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _floats(values: pa.Array) -> Floats:
    """float64 with NaN for null."""
    numbers: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _seconds(values: pa.Array) -> Floats:
    zone = getattr(values.type, "tz", None)
    microseconds = values.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    missing = values.is_null().to_numpy(zero_copy_only=False)
    return np.where(missing, np.nan, microseconds.fill_null(0).to_numpy(zero_copy_only=False) / 1e6)


def _is_time(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _iso_seconds(text: str) -> float:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _all_digits(values: pa.Array) -> bool:
    """Whether every text is an integer, such as +5, which Arrow does not read."""
    every: Any = pc.all(pc.match_substring_regex(values, r"^[+-]?\d+$"), skip_nulls=True).as_py()
    return every is not False
