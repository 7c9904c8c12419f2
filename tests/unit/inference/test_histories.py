"""Rows that come with their history: what is read of it, what does not matter, and how a mistake in it is told."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from inference.contract.errors import InputError
from inference.contract.records import RecordReader
from tests.inference_support import artifacts

TRANSFORM = artifacts.transform()  # lags and a window of count (the target) and of temp
READER = RecordReader(TRANSFORM)


def asked(count: int = 3) -> list[Any]:
    return deepcopy(artifacts.instances(TRANSFORM, count))


def features(instances: list[Any]) -> Any:
    return TRANSFORM.apply(READER.read(instances)).matrix


def test_rows_that_are_read_together_get_what_each_gets_alone() -> None:
    rows = asked(5)
    del rows[1]["history"][0]  # histories of different lengths
    rows[2]["history"] = []
    rows[3] = rows[3]["row"]
    np.testing.assert_array_equal(features(rows), np.concatenate([features([row]) for row in rows]))


@pytest.mark.parametrize(("column", "value"), [("wind", "gale"), ("sky", 7), ("when", "yesterday"), ("season", 1.5)])
def test_what_no_window_looks_at_does_not_matter(column: str, value: Any) -> None:
    odd = asked()
    odd[1]["history"][0][column] = value
    np.testing.assert_array_equal(features(odd), features(asked()))


@pytest.mark.parametrize("value", [None, 12, 12.5])
def test_a_plain_value_is_read_and_a_missing_one_counts_as_the_mean(value: float | None) -> None:
    rows, filled = asked(), asked()
    rows[1]["history"][0]["temp"] = value
    filled[1]["history"][0]["temp"] = 15.0 if value is None else float(value)
    np.testing.assert_array_equal(features(rows), features(filled))


@pytest.mark.parametrize("value", ["warm", True, [1], {}, float("nan"), float("inf"), 10**320])
def test_a_wrong_value_is_told_with_the_row_and_its_column(value: Any) -> None:
    rows = asked()
    rows[1]["history"][2]["temp"] = value
    with pytest.raises(InputError, match="in 'history': expected") as caught:
        READER.read(rows)
    assert (caught.value.row, caught.value.column) == (1, "temp")


def test_a_target_that_is_not_there_counts_as_missing() -> None:
    rows, nulled = asked(), asked()
    for past, other in zip(rows[0]["history"], nulled[0]["history"], strict=True):
        del past["count"]
        other["count"] = None
    np.testing.assert_array_equal(features(rows), features(nulled))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda past: past.pop("wind"), "lacks wind"),
        (lambda past: past.update(fog=1), "columns that the model does not know: fog"),
    ],
)
def test_a_wrong_name_is_told_with_the_row(change: Any, problem: str) -> None:
    rows = asked()
    change(rows[2]["history"][1])
    with pytest.raises(InputError, match=problem) as caught:
        READER.read(rows)
    assert caught.value.row == 2


@pytest.mark.parametrize("past", [[1, 2, 3], 5, "text", None])
def test_what_is_no_record_is_refused(past: Any) -> None:
    rows = asked()
    rows[1]["history"][0] = past
    with pytest.raises(InputError, match="'history' must hold records, got") as caught:
        READER.read(rows)
    assert caught.value.row == 1
