from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.contract.schema import Column, Kind
from tests.training_support.rows import silent, values
from training import dataset, order
from training.config import TrainConfig
from training.dataset import Dataset, Part
from training.errors import DataError
from training.order import OrderReport, Stretch

DAY = 86_400.0
CLOCK = (Column(name="day", kind=Kind.TIME), Column(name="hour", kind=Kind.INTEGER))


@pytest.fixture
def load(write_csv: Callable[..., Path], tmp_path: Path) -> Callable[..., Dataset]:
    def load_rows(header: str, rows: list[str], **settings: Any) -> Dataset:
        path = write_csv(header, rows)
        config = TrainConfig.model_validate({"data": path, "target": "y", "output": tmp_path, **settings})
        return dataset.load(config, tmp_path, silent)

    return load_rows


def watched(*blocks: list[list[float]]) -> bool:
    watch = order.Watch()
    for block in blocks:
        watch.add(np.array(block))
    return watch.sorted


def test_whether_rows_are_in_order_is_seen_across_blocks() -> None:
    assert watched([[1.0, 2.0], [1.0, 2.0]], [[2.0, 0.0]])
    assert not watched([[1.0, 2.0], [2.0, 2.0]], [[2.0, 1.0]])
    assert not watched([[2.0], [1.0]])


def report(keys: np.ndarray[Any, Any], line: np.ndarray[Any, Any], *, was_sorted: bool = True) -> OrderReport:
    """In blocks of two rows, of one entity."""

    def stretches() -> Iterator[Stretch]:
        for start in range(0, len(keys), 2):
            rows = slice(start, start + 2)
            yield Stretch(keys[rows], line[rows], np.arange(len(keys))[rows] == 0)

    return order.report(stretches, was_sorted=was_sorted)


def test_a_date_and_an_hour_make_one_axis() -> None:
    keys = np.array([[0.0, 22.0], [0.0, 23.0], [DAY, 0.0], [DAY, 3.0]])
    line = order.axis(keys, CLOCK)
    assert line is not None
    found = report(keys, line)
    assert (found.step, found.gaps, found.longest) == (3_600.0, 1, 10_800.0)
    assert order.describe(keys[3], CLOCK, float(line[3])) == "1970-01-02T03:00:00"


def test_an_integer_that_is_no_hour_makes_no_axis() -> None:
    assert order.axis(np.array([[0.0, 24.0]]), CLOCK) is None


def test_repeats_are_counted_and_irregular_steps_have_no_gaps() -> None:
    keys = np.array([[1.0], [1.0], [3.0], [10.0], [11.5]])
    found = report(keys, keys[:, 0], was_sorted=False)
    assert (found.duplicates, found.gaps, found.step) == (1, 0, None)
    assert len(found.warnings(("t",), times=False)) == 2


def test_an_order_splits_in_time_and_tells_what_is_odd(load: Callable[..., Dataset]) -> None:
    rows = [f"{n},{n % 7}" for n in range(100) if n != 50]
    data = load("t,y", [*rows[1:], rows[0]], order="t")
    assert values(data.spill)[:, 0].tolist() == [float(n) for n in range(100) if n != 50]
    assert list(data.sizes.values()) == [69, 15, 15]
    assert next(data.part(Part.TEST))[:, 0].tolist() == [float(n) for n in range(85, 100)]
    assert data.until == "t=84"
    assert any("sorted" in text for text in data.warnings)
    assert any("1 gaps in t" in text for text in data.warnings)


def test_without_an_order_the_split_is_a_seeded_shuffle(load: Callable[..., Dataset]) -> None:
    rows = [f"{n},{n % 7}" for n in range(100)]
    first, again = load("t,y", rows, seed=1), None
    rows_of = values(first.spill)
    again = load("t,y", rows, seed=1)
    np.testing.assert_array_equal(rows_of, values(again.spill))
    assert sorted(rows_of[:, 0].tolist()) == [float(n) for n in range(100)]
    assert rows_of[:, 0].tolist() != values(load("t,y", rows, seed=2).spill)[:, 0].tolist()


def test_a_dropped_column_may_still_order_the_rows(load: Callable[..., Dataset]) -> None:
    data = load("id,x,y", [f"{100 - n},{n},{n % 3}" for n in range(100)], order="id", drop="id")
    assert [column.name for column in data.columns] == ["x", "y"]
    assert values(data.spill)[0].tolist() == [99.0, 0.0]
    assert data.ordered
    assert data.order == ()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target": "z"}, "target names 'z', but the columns are t, name, y"),
        ({"drop": "a,b"}, "drop names 'a', drop names 'b'"),
        ({"order": "when"}, "order names 'when'"),
        ({"order": "name"}, "order column 'name' holds texts such as 'n'"),
        ({"drop": "t,name"}, "no column is left"),
    ],
)
def test_settings_that_do_not_fit_the_file(
    load: Callable[..., Dataset], settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError) as caught:
        load("t,name,y", [f"{n},n,{n}" for n in range(60)], **settings)
    assert expected in str(caught.value)


def test_too_few_rows_and_holes_in_the_order_are_refused(load: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match="20 rows are too few: train gets 14 and needs 16"):
        load("t,y", [f"{n},{n}" for n in range(20)])
    with pytest.raises(DataError, match=r"row 3 has no 't'.*\(1 such rows\)"):
        load("t,y", [f"{'' if n == 2 else n},{n}" for n in range(60)], order="t")


def test_nothing_of_the_held_out_rows_is_in_the_training_part(load: Callable[..., Dataset]) -> None:
    data = load("t,y", [f"{n},{n % 7}" for n in range(100)], seed=3)
    parts = [{row for chunk in data.part(part, 7) for row in chunk[:, 0].tolist()} for part in Part]
    assert sum(len(part) for part in parts) == 100
    assert len(set.union(*parts)) == 100
