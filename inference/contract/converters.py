"""From one value of JSON to the float64 that stands for it in the matrix of rows; and a whole column at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from inference.contract.schema import UNSEEN, Column, Floats, Kind

Converter = Callable[[Any], float]
NAN = math.nan
NUMBERS = {float, int, type(None)}
"""What a plain number may be in JSON."""
EXACT = 2**53
"""Integers beyond this are not exact in a float64."""


def converter(column: Column, levels: Sequence[str] | Sequence[float]) -> Converter:
    """A function from one JSON value of the column to its float64; it raises ValueError on any other value."""
    match column.kind:
        case Kind.NUMERIC:
            return _numeric
        case Kind.INTEGER:
            return _integer
        case Kind.TIME:
            return _time
        case Kind.CATEGORICAL:
            codes = {str(level): float(code) for code, level in enumerate(levels)}

            def categorical(value: Any) -> float:
                if value is None:
                    return NAN
                if not isinstance(value, str):
                    raise ValueError(f"expected a text, got {value!r}")  # noqa: TRY004  # one class for a wrong value
                return codes.get(value, UNSEEN)

            return categorical


def _numeric(value: Any) -> float:
    if value is None:
        return NAN
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is not int:
        raise ValueError(f"expected a finite number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("expected a finite number, got an integer beyond any float") from None


def _integer(value: Any) -> float:
    if value is None:
        return NAN
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # inf and NaN are not
    if not whole:
        raise ValueError(f"expected an integer, got {value!r}")
    if abs(value) > EXACT:
        raise ValueError(f"expected an integer of at most 2**53, got {value!r}")
    return float(value)


def _time(value: Any) -> float:
    """Seconds since 1970 UTC of an ISO 8601 text or of a number of seconds; naive times are UTC."""
    if value is None or type(value) in (int, float):
        return _numeric(value)
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a time such as 2012-06-01T13:00:00, got {value!r}") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def plain(kind: Kind, values: Sequence[Any]) -> Floats | None:
    """A column of plain numbers all at once, None as NaN; None when it takes a closer look, as `converter` has."""
    if kind not in (Kind.NUMERIC, Kind.INTEGER) or not set(map(type, values)) <= NUMBERS:
        return None
    try:
        typed: Floats = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    if kind is Kind.INTEGER:
        with np.errstate(invalid="ignore"):
            fine = (np.rint(typed) == typed) & (np.abs(typed) < EXACT)
    else:
        fine = np.isfinite(typed)
    if not fine.all() and (np.isinf(typed).any() or np.count_nonzero(~fine) != values.count(None)):
        return None
    return typed
