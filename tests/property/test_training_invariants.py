"""What must hold whatever the data are, and however they are cut into chunks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from inference.contract.records import RecordReader
from inference.contract.transform import Transform
from tests.training_support.rows import matrix, silent
from training import dataset, features, statistics
from training.config import TrainConfig
from training.dataset import Dataset, Part
from training.features import FeatureSet
from training.fit import fit
from training.heldout import HeldOut

CHECKS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WIDTH = 2
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.sampled_from([math.nan, 0.0, -0.0, 5e-324, -1.0, 1.0, 1.7e308]),
)
tables = arrays.arrays(np.float64, st.tuples(st.integers(1, 60), st.just(WIDTH)), elements=numbers)
moderate = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 700), st.just(WIDTH)), elements=st.floats(-1e6, 1e6, width=32)
)


def cut(values: NDArray[np.float64], rows: int) -> statistics.Chunks:
    return lambda: (values[start : start + rows] for start in range(0, len(values), rows))


@CHECKS
@given(tables, st.integers(1, 70), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_quantiles_are_numpys_to_the_last_bit(values: NDArray[np.float64], rows: int, shares: list[float]) -> None:
    with np.errstate(over="ignore"):  # numpy's own interpolation of two ends of the range
        found = statistics.quantiles(cut(values, rows), WIDTH, shares)
        for column in range(WIDTH):
            here = values[:, column][~np.isnan(values[:, column])]
            expected = np.quantile(here, shares) if len(here) else np.full(len(shares), np.nan)
            np.testing.assert_array_equal(found[column], expected)


@CHECKS
@given(moderate, st.integers(1, 800))
def test_moments_do_not_depend_on_the_chunks_and_are_right(values: NDArray[np.float64], rows: int) -> None:
    whole, parts = statistics.moments(cut(values, 10_000), WIDTH), statistics.moments(cut(values, rows), WIDTH)
    np.testing.assert_array_equal(whole.mean, parts.mean)
    np.testing.assert_array_equal(whole.std, parts.std)
    scale = np.abs(values).max(axis=0)
    assert (np.abs(whole.mean - values.mean(axis=0)) <= 1e-12 * scale).all()
    if len(values) > 1:
        assert (np.abs(whole.std - values.std(axis=0, ddof=1)) <= 1e-12 * scale).all()


@dataclass
class Made:
    data: Dataset
    transform: Transform
    features: FeatureSet

    @property
    def state(self) -> dict[str, Any]:
        return self.transform.model_dump()

    @property
    def matrix(self) -> NDArray[np.float32]:
        return matrix(self.features)


@contextmanager
def made(rows: list[dict[str, Any]], **changed: Any) -> Iterator[Made]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = list(rows[0])
        lines = [",".join("" if row[column] is None else str(row[column]) for column in header) for row in rows]
        (folder / "data.csv").write_text("\n".join([",".join(header), *lines]) + "\n")
        common: dict[str, Any] = {"data": folder / "data.csv", "target": "y", "order": "t", "task": "regression"}
        config = TrainConfig.model_validate({**common, "lags": "1,3", "window": 4, "history": "y,x", **changed})
        data = dataset.load(config, folder, silent)
        transform = fit(data, config).transform
        yield Made(data, transform, features.build(data, transform, config, folder, silent))


def random_rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Every kind of column, with missing values, outliers and an unseen level at the end."""
    random = np.random.Generator(np.random.PCG64(seed))
    return [
        {
            "t": f"2024-{1 + number // 27:02}-{1 + number % 27:02}T{int(random.integers(24)):02}:00:00",
            "x": None if random.random() < 0.05 else round(float(random.standard_cauchy()), 3),
            "z": round(float(random.normal()), 4),
            "code": int(random.integers(4)),
            "flag": str(bool(random.integers(2))).lower(),
            "name": "unseen" if number > count - 3 else ["red", "blue", None][int(random.integers(3))],
            "y": round(float(random.normal(50.0, 20.0)), 2),
        }
        for number in range(count)
    ]


seeds = st.integers(0, 2**32 - 1)
counts = st.integers(60, 140)


@FEWER
@given(seeds, counts, st.integers(1, 150))
def test_chunk_size_never_changes_the_fitted_state_nor_the_features(seed: int, count: int, chunk_rows: int) -> None:
    rows = random_rows(seed, count)
    with made(rows) as whole, made(rows, chunk_rows=chunk_rows) as parts:
        assert parts.state == whole.state
        np.testing.assert_array_equal(parts.matrix, whole.matrix)
        assert parts.features.left_out == whole.features.left_out
        assert parts.features.counts == whole.features.counts


@FEWER
@given(seeds, counts, st.data())
def test_a_rows_own_target_changes_none_of_its_features(seed: int, count: int, draw: st.DataObject) -> None:
    rows = random_rows(seed, count)
    number = draw.draw(st.integers(round(count * 0.7) + 1, count - 1))
    with made(rows) as before:
        old = before.matrix
        state = before.state
    rows[number]["y"] += 1_000.0
    with made(rows) as after:
        assert after.state == state, "a held-out target was fitted on"
        np.testing.assert_array_equal(after.matrix[: number + 1], old[: number + 1])


@FEWER
@given(seeds, counts, seeds)
def test_held_out_rows_change_nothing_that_is_fitted(seed: int, count: int, other: int) -> None:
    rows = random_rows(seed, count)
    first = count - round(count * 0.3)
    replaced = rows[:first] + [
        {**new, "t": old["t"]} for old, new in zip(rows[first:], random_rows(other, count)[first:], strict=True)
    ]
    with made(rows) as before, made(replaced) as after:
        assert after.state == before.state


@FEWER
@given(seeds, counts, st.integers(1, 40))
def test_a_row_with_its_history_as_json_gets_the_features_of_its_chunk(seed: int, count: int, chunk_rows: int) -> None:
    with made(random_rows(seed, count), chunk_rows=chunk_rows) as trained:
        held_out = HeldOut.of(trained.data, trained.transform, limit=1_000)
        start = trained.data.spill.rows - trained.data.sizes[Part.TEST]
        reader = RecordReader(trained.transform)
        assert len(held_out) == trained.data.sizes[Part.TEST]
        for number in range(len(held_out)):
            request = orjson.loads(orjson.dumps([held_out.instance(number)]))
            one = trained.transform.apply(reader.read(request)).matrix
            np.testing.assert_array_equal(one[0], trained.matrix[start + number])


@FEWER
@given(seeds, counts)
def test_a_row_without_an_order_needs_no_history(seed: int, count: int) -> None:
    with made(random_rows(seed, count), order="", history="none", seed=seed % 7) as trained:
        held_out = HeldOut.of(trained.data, trained.transform, limit=5)
        request = list(held_out.instances())
        assume(request)
        read = trained.transform.apply(RecordReader(trained.transform).read(request)).matrix
        start = trained.data.spill.rows - trained.data.sizes[Part.TEST]
        np.testing.assert_array_equal(read, trained.matrix[start : start + len(held_out)])
