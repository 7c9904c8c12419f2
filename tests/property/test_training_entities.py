"""What must hold of rows of many entities, and of rows that do not fit into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.contract.errors import InputError
from inference.contract.records import RecordReader
from inference.contract.schema import Column, Kind
from inference.contract.transform import Transform
from tests.training_support.rows import matrix, silent, values
from training import dataset, features, sorting
from training.config import TrainConfig
from training.dataset import Dataset
from training.features import FeatureSet
from training.fit import fit
from training.heldout import HeldOut
from training.spill import Spill, SpillWriter
from training.split import Part

FEWER = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHOPS = ("north", "south", "east", "west", "harbour")


class Made:
    def __init__(self, data: Dataset, transform: Transform, made: FeatureSet) -> None:
        self.data, self.transform, self.features = data, transform, made
        names = ("shop", "t", "y")
        self.rows = values(data.spill)
        self.shop, self.time, self.y = (self.rows[:, data.index(name)] for name in names)


@contextmanager
def made(rows: list[str], *, run_rows: int = sorting.RUN_ROWS, **changed: Any) -> Iterator[Made]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.csv").write_text("\n".join(["shop,t,x,y", *rows]) + "\n")
        common = {"data": folder / "data.csv", "target": "y", "order": "t", "group_by": "shop", "task": "regression"}
        given_: dict[str, Any] = {**common, "lags": "1,3", "window": 3, "history": "y,x", **changed}
        config = TrainConfig.model_validate(given_)
        data = dataset.load(config, folder, silent, run_rows=run_rows)
        transform = fit(data, config).transform
        yield Made(data, transform, features.build(data, transform, config, folder, silent))


def random_rows(seed: int, count: int) -> list[str]:
    """Shops whose hours are mixed, some of them with few rows, a few values missing; times are multiples of 60."""
    random = np.random.Generator(np.random.PCG64(seed))
    shops = random.choice(5, count, p=[0.4, 0.3, 0.2, 0.07, 0.03])
    times = random.permutation(count) // 2 * 60
    return [
        f"{SHOPS[shop]},{time},{random.normal():.3f},{'' if random.random() < 0.03 else f'{random.normal(9, 3):.2f}'}"
        for shop, time in zip(shops.tolist(), times.tolist(), strict=True)
    ]


seeds, counts = st.integers(0, 2**32 - 1), st.integers(120, 200)


@FEWER
@given(seeds, counts, st.integers(1, 90), st.integers(7, 300))
def test_rows_stand_by_entity_and_time_and_neither_chunks_nor_runs_matter(
    seed: int, count: int, chunk_rows: int, run_rows: int
) -> None:
    rows = random_rows(seed, count)
    with made(rows) as whole, made(rows, chunk_rows=chunk_rows, run_rows=run_rows) as parts:
        np.testing.assert_array_equal(parts.rows, whole.rows)
        assert parts.transform == whole.transform
        np.testing.assert_array_equal(matrix(parts.features), matrix(whole.features))
        assert parts.features.left_out == whole.features.left_out
        same = whole.shop[1:] == whole.shop[:-1]
        assert (np.diff(whole.time)[same] >= 0.0).all()
        assert same.sum() == count - len(np.unique(whole.shop)), "each entity is one stretch"


@FEWER
@given(seeds, counts)
def test_no_part_sees_a_time_of_the_next_one(seed: int, count: int) -> None:
    with made(random_rows(seed, count)) as trained:
        data = trained.data
        column = data.index("t")
        spans = {part: np.concatenate(list(data.part(part, 17)))[:, column] for part in Part}
        assert sum(len(times) for times in spans.values()) == count
        assert spans[Part.TRAIN].max() < spans[Part.VALIDATION].min()
        assert spans[Part.VALIDATION].max() < spans[Part.TEST].min()
        assert data.until == f"t={spans[Part.VALIDATION].max():g}"


@FEWER
@given(seeds, counts)
def test_no_lag_and_no_window_leaves_its_entity(seed: int, count: int) -> None:
    with made(random_rows(seed, count)) as trained:
        names = trained.transform.feature_names
        found = matrix(trained.features)
        (fit_,) = (one for one in trained.transform.history if one.name == "y")
        known = np.where(np.isnan(trained.y), fit_.mean, trained.y)
        for row in range(count):
            for lag in (1, 3):
                own = row >= lag and trained.shop[row - lag] == trained.shop[row]
                expected = (known[row - lag] if own else fit_.mean) - fit_.mean
                assert found[row, names.index(f"y.lag{lag}")] == np.float32(expected / fit_.std)


@FEWER
@given(seeds, counts)
def test_a_row_with_its_history_as_json_gets_the_features_of_its_chunk(seed: int, count: int) -> None:
    with made(random_rows(seed, count)) as trained:
        held_out = HeldOut.of(trained.data, trained.transform, limit=12)
        reader = RecordReader(trained.transform)
        tested = np.concatenate([block for block, _ in trained.features.table.part(Part.TEST)])
        for number, row in enumerate(held_out.numbers.tolist()):
            request = orjson.loads(orjson.dumps([held_out.instance(number)]))
            np.testing.assert_array_equal(trained.transform.apply(reader.read(request)).matrix[0], tested[row])


def test_a_history_of_another_entity_is_refused() -> None:
    with made(random_rows(1, 150)) as trained:
        held_out = HeldOut.of(trained.data, trained.transform, limit=3)
        request = held_out.instance(0)
        request["history"][0]["shop"] = "elsewhere"
        with pytest.raises(InputError, match=r"history' holds a row of 'elsewhere', the row is of"):
            RecordReader(trained.transform).read([request])


def test_entities_with_fewer_rows_than_the_longest_lag_are_counted() -> None:
    rows = [f"north,{n},{n % 7},{n % 5}" for n in range(100)] + [f"s{n},{n},1,2" for n in range(10)]
    with made(rows) as trained:
        left = trained.features.left_out[Part.TRAIN]
        assert left.history == 3 + 10, "three of the large one, all of those with a single row"


@pytest.mark.parametrize(
    ("rows", "changed", "expected"),
    [
        ([f"{'' if n == 4 else 'a'},{n},1,{n}" for n in range(60)], {}, r"row 5 has no 'shop', which names the entity"),
        ([f"a,{n},1,{n}" for n in range(60)], {"group_by": "store"}, "group-by names 'store'"),
        ([f"a,{n},1,{n}" for n in range(60)], {"order": ""}, "group-by shop needs rows in an order"),
        ([f"a,{n},1,{n}" for n in range(60)], {"group_by": "t"}, "group-by and order both name t"),
        ([f"a,{n},1,{n}" for n in range(60)], {"group_by": "y"}, "target 'y' cannot name the entity"),
    ],
)
def test_groups_that_cannot_be_are_refused(rows: list[str], changed: dict[str, Any], expected: str) -> None:
    history = {"history": "none", "lags": "", "window": "none"} if changed.get("order") == "" else {}
    with pytest.raises(Exception, match=expected), made(rows, **changed, **history):
        pass


@FEWER
@given(seeds, st.integers(1, 400), st.integers(1, 150), st.integers(1, 64))
def test_an_external_sort_is_the_stable_sort(seed: int, count: int, run_rows: int, block_rows: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    rows: NDArray[np.float64] = np.column_stack(
        [random.integers(0, 4, count), random.integers(0, 3, count), np.arange(count)]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = tuple(Column(name=column, kind=Kind.NUMERIC) for column in "abc")
        with SpillWriter(folder / "rows", ["a", "b", "c"], block_rows) as file:
            for start in range(0, count, 33):
                file.write(list(rows[start : start + 33].T.astype(float)))
        spill = Spill(folder / "rows", count, columns, (0, 1, 2), {}, block_rows)
        made_ = sorting.sort(spill, lambda _, part: part[:, :2], folder / "sorted", run_rows=run_rows)
        expected = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        np.testing.assert_array_equal(values(made_), expected)
        assert [path.name for path in folder.iterdir()] == ["sorted"], "no run is left"
