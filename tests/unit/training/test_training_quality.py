from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import dataset, quality
from training.config import TrainConfig
from training.errors import DataError

WriteCsv = Callable[..., Path]
ROWS = 400


def silent(_text: str, _fraction: float | None = None) -> None:
    pass


@pytest.fixture
def inspect(write_csv: WriteCsv, tmp_path: Path) -> Callable[..., quality.Quality]:
    def look(columns: dict[str, Sequence[Any]], **settings: Any) -> quality.Quality:
        rows = [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
        path = write_csv(",".join(columns), rows)
        config = TrainConfig.model_validate({"data": path, "target": "y", "order": "t", **settings})
        return quality.inspect(dataset.load(config, tmp_path, silent), config)

    return look


@pytest.fixture
def columns() -> dict[str, Sequence[Any]]:
    random = np.random.Generator(np.random.PCG64(0))
    x, z = random.normal(size=(2, ROWS)).round(4)
    return {"t": range(ROWS), "x": x, "z": z, "y": (x + z + random.normal(size=ROWS)).round(4)}


Inspect = Callable[..., quality.Quality]
Table = dict[str, Sequence[Any]]


def test_honest_columns_are_let_through(inspect: Inspect, columns: Table) -> None:
    found = inspect(columns)
    assert found.warnings == ()
    assert found.together is not None
    assert 0.5 < found.together < 0.8
    x = next(column for column in found.columns if column.name == "x")
    y = np.array(columns["y"])[: round(ROWS * 0.7)]
    assert x.r2 == pytest.approx(np.corrcoef(columns["x"][: len(y)], y)[0, 1] ** 2, rel=1e-9)


def test_parts_of_the_target_are_refused_by_name(inspect: Inspect, columns: Table) -> None:
    columns["casual"] = np.array(columns["y"]) - np.array(columns["x"])
    with pytest.raises(DataError, match=r"columns x, casual together give the target 'y' away.*drop x,casual"):
        inspect(columns)
    assert inspect(columns, allow_leak="x,casual").allowed == ("x", "casual")


def test_a_column_that_is_the_target_in_other_units_is_refused(inspect: Inspect, columns: Table) -> None:
    columns["cents"] = np.array(columns["y"]) * 100.0 + 3.0
    with pytest.raises(DataError, match=r"column 'cents' gives the target 'y' away: R² 1\.0000"):
        inspect(columns)
    found = inspect(columns, allow_leak="cents")
    assert "column 'cents' leaks the target (R² 1.0000) and was allowed" in found.warnings


def test_a_leak_is_found_where_values_are_missing(inspect: Inspect, columns: Table) -> None:
    columns["cents"] = [value * 100 if row % 3 else "" for row, value in enumerate(columns["y"])]
    with pytest.raises(DataError, match="column 'cents' gives"):
        inspect(columns)


def test_texts_that_name_the_class_are_refused(inspect: Inspect, columns: Table) -> None:
    columns["y"] = ["no" if value < 0 else "yes" for value in columns["y"]]
    columns["verdict"] = ["rejected" if value == "no" else "accepted" for value in columns["y"]]
    with pytest.raises(DataError, match="column 'verdict' gives the target 'y' away"):
        inspect(columns)


def test_a_strong_column_is_a_warning(inspect: Inspect, columns: Table) -> None:
    columns["x"] = (np.array(columns["y"]) + 0.3 * np.array(columns["z"])).round(4)
    (warning,) = [text for text in inspect({k: v for k, v in columns.items() if k != "z"}).warnings if "'x'" in text]
    assert "alone explains 0.9" in warning


def test_copies_gaps_and_rare_classes_are_told(inspect: Inspect, columns: Table) -> None:
    columns["again"] = columns["z"]
    columns["sparse"] = [1.0 + row if row % 4 == 0 else "" for row in range(ROWS)]
    columns["y"] = ["rare" if row in (3, 50) else "usual" for row in range(ROWS)]
    found = inspect(columns)
    assert found.copies == (("z", "again"),)
    assert found.balance == {"usual": 278, "rare": 2}
    assert "75% of column 'sparse' is missing" in found.warnings
    assert any("class 'rare' has 2 training rows" in text for text in found.warnings)
    assert any("class 'usual' is 99.3%" in text for text in found.warnings)


def test_few_rows_say_nothing(inspect: Inspect) -> None:
    found = inspect({"t": range(25), "x": range(25), "z": range(25), "y": range(25)})
    assert found.together is None
    assert all(column.r2 is None for column in found.columns)
