"""What must hold of the transform whatever the data: the reasons why training and serving see the same features."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.contract.errors import InputError
from inference.contract.schema import Floats, Rows, Task
from inference.contract.transform import Transform
from tests.inference_support import artifacts

TRANSFORM = artifacts.transform()
HALO = TRANSFORM.history_rows
TARGET = TRANSFORM.table.index("count")
WHEN, TEMP, WIND, SEASON, SKY = (TRANSFORM.table.index(column.name) for column in artifacts.COLUMNS)


@st.composite
def tables(draw: st.DrawFn, smallest: int = 1, largest: int = 40) -> Floats:
    """Rows in order, with missing values, outliers and levels that were never seen."""
    count = draw(st.integers(smallest, largest))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.empty((count, len(TRANSFORM.table.columns)))
    values[:, WHEN] = 1.7e9 + 3600 * np.arange(count)
    values[:, TEMP] = generator.normal(15, 30, count)
    values[:, WIND] = generator.lognormal(1, 1, count)
    values[:, SEASON] = generator.integers(0, 6, count)
    values[:, SKY] = generator.integers(-1, 3, count)
    values[:, TARGET] = generator.normal(50, 20, count)
    holes = generator.random(values.shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    values[holes] = np.nan
    return values


def alone(values: Floats, row: int) -> Rows:
    """One row as a caller sends it: with its history, and without the target that it asks for."""
    first = max(0, row - HALO)
    own = values[first : row + 1].copy()
    own[-1, TARGET] = np.nan
    return Rows(own, np.array([row - first]), np.array([0]))


@given(tables(), st.integers(1, 41))
def test_chunks_with_their_halo_give_the_bits_of_the_whole(values: Floats, size: int) -> None:
    whole = TRANSFORM.apply(Rows.contiguous(values))
    chunks = []
    for begin in range(0, len(values), size):
        first = max(0, begin - HALO)
        chunks.append(TRANSFORM.apply(Rows.contiguous(values[first : begin + size], halo=begin - first)))
    np.testing.assert_array_equal(np.concatenate([chunk.matrix for chunk in chunks]), whole.matrix)
    np.testing.assert_array_equal(np.concatenate([chunk.complete for chunk in chunks]), whole.complete)
    for counted in ("clipped", "imputed", "unseen"):
        total = sum(getattr(chunk, counted) for chunk in chunks)
        np.testing.assert_array_equal(total, getattr(whole, counted))


@given(tables())
def test_a_row_alone_with_its_history_gives_the_bits_of_training(values: Floats) -> None:
    whole = TRANSFORM.apply(Rows.contiguous(values))
    for row in range(len(values)):
        one = TRANSFORM.apply(alone(values, row))
        np.testing.assert_array_equal(one.matrix[0], whole.matrix[row])
        assert one.complete[0] == whole.complete[row]


@given(tables(), st.randoms(use_true_random=False))
def test_strangers_in_a_batch_change_no_bit(values: Floats, order: object) -> None:
    rows = list(range(len(values)))
    order.shuffle(rows)  # type: ignore[attr-defined]  # a random.Random of hypothesis
    batch = TRANSFORM.apply(Rows.concat([alone(values, row) for row in rows]))
    np.testing.assert_array_equal(batch.matrix, TRANSFORM.apply(Rows.contiguous(values)).matrix[rows])


@given(tables(), st.integers(0, 39), st.floats(-1e9, 1e9) | st.just(float("nan")))
def test_the_current_target_changes_no_feature_of_its_row_or_before(values: Floats, row: int, other: float) -> None:
    row %= len(values)
    changed = values.copy()
    changed[row, TARGET] = other
    before, after = (TRANSFORM.apply(Rows.contiguous(table)).matrix for table in (values, changed))
    np.testing.assert_array_equal(before[: row + 1], after[: row + 1])


@given(tables(smallest=2), st.data())
def test_no_feature_sees_a_later_row(values: Floats, data: st.DataObject) -> None:
    row = data.draw(st.integers(1, len(values) - 1))
    changed = values.copy()
    changed[row:] = np.nan
    before, after = (TRANSFORM.apply(Rows.contiguous(table)).matrix for table in (values, changed))
    np.testing.assert_array_equal(before[:row], after[:row])


@given(tables())
def test_every_feature_is_finite(values: Floats) -> None:
    features = TRANSFORM.apply(Rows.contiguous(values))
    assert np.isfinite(features.matrix).all()
    assert features.matrix.shape == (len(values), len(TRANSFORM.feature_names))


@given(tables())
def test_rows_without_their_whole_history_are_told(values: Floats) -> None:
    complete = TRANSFORM.apply(Rows.contiguous(values)).complete
    assert not complete[:HALO].any()
    holes = np.isnan(values[:, TARGET]) | np.isnan(values[:, TEMP])
    for row in range(HALO, len(values)):
        if not holes[row - HALO : row].any():
            assert complete[row]


@pytest.mark.parametrize("missing_history", ["impute", "reject"])
def test_missing_history_is_imputed_or_refused(missing_history: Literal["impute", "reject"]) -> None:
    transform = artifacts.transform(missing_history=missing_history)
    values = np.full((1, len(transform.table.columns)), 1.0)
    if missing_history == "reject":
        with pytest.raises(InputError, match=f"row 0: needs {HALO} earlier rows"):
            transform.apply(Rows.alone(values))
    else:
        assert np.isfinite(transform.apply(Rows.alone(values)).matrix).all()


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("missing_history", ["impute", "reject"])
def test_the_fitted_state_survives_json(task: Task, missing_history: Literal["impute", "reject"]) -> None:
    fitted = artifacts.transform(task, missing_history=missing_history)
    assert Transform.model_validate_json(fitted.model_dump_json()) == fitted
