from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.contract.schema import Task
from inference.contract.transform import CalendarPart, Transform
from tests.training_support.rows import matrix, usable
from training import dataset, features
from training.config import TrainConfig
from training.dataset import Dataset, Part
from training.errors import DataError
from training.features import FeatureSet
from training.fit import Fitted, fit

Prepare = Callable[..., tuple[Dataset, Fitted]]


def silent(_text: str, _fraction: float | None = None) -> None:
    pass


@pytest.fixture
def prepare(write_csv: Callable[..., Path], tmp_path: Path) -> Prepare:
    def run(header: str, rows: list[str], **settings: Any) -> tuple[Dataset, Fitted]:
        path = write_csv(header, rows)
        config = TrainConfig.model_validate({"data": path, "target": "y", "output": tmp_path, **settings})
        data = dataset.load(config, tmp_path, silent)
        return data, fit(data, config)

    return run


@pytest.fixture
def build(write_csv: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Dataset, Transform, FeatureSet]]:
    def run(header: str, rows: list[str], **settings: Any) -> tuple[Dataset, Transform, FeatureSet]:
        path = write_csv(header, rows)
        config = TrainConfig.model_validate({"data": path, "target": "y", "output": tmp_path, **settings})
        data = dataset.load(config, tmp_path, silent)
        transform = fit(data, config).transform
        return data, transform, features.build(data, transform, config, tmp_path, silent)

    return run


def test_bounds_are_only_for_continuous_inputs_that_vary(prepare: Prepare) -> None:
    rows = [f"{n % 2},{n % 2}.0,{n % 40},{n * 0.37 % 5:.2f},{'1.5' if n else '99.5'},{n * 3}" for n in range(200)]
    data, fitted = prepare("flag,float_flag,count,x,still,y", rows)
    numeric = {found.name: found for found in fitted.transform.numeric}
    assert set(numeric) == {"flag", "float_flag", "count", "x", "still"}
    bounded = {name for name, found in numeric.items() if found.lower is not None}
    assert bounded == {"x"}
    train = np.concatenate(list(data.part(Part.TRAIN, 1_000)))[:, data.index("x")]
    low, middle, high = np.quantile(train, [0.25, 0.5, 0.75])
    assert (numeric["x"].lower, numeric["x"].upper) == (low - 1.5 * (high - low), high + 1.5 * (high - low))
    assert numeric["x"].impute == middle


def test_integer_codes_and_texts_become_levels_of_the_training_rows(prepare: Prepare) -> None:
    rows = [f"{n},{n % 5},{'late' if n > 90 else 'abc'[n % 3]},{n % 11}" for n in range(100)]
    _, fitted = prepare("t,code,name,y", rows, order="t")
    levels = {found.name: found.levels for found in fitted.transform.levels}
    assert levels == {"code": (0.0, 1.0, 2.0, 3.0, 4.0), "name": ("a", "b", "c")}


def test_a_constant_column_scales_to_zero_and_is_told(
    build: Callable[..., tuple[Dataset, Transform, FeatureSet]], prepare: Prepare
) -> None:
    rows = [f"{n % 7},4.25,{n % 11}" for n in range(100)]
    _, fitted = prepare("x,still,y", rows)
    assert any("'still' is constant" in text for text in fitted.warnings)
    _, transform, made = build("x,still,y", rows)
    assert (matrix(made)[:, transform.feature_names.index("still")] == 0.0).all()


def test_only_whole_cycles_of_the_calendar_are_features(prepare: Prepare) -> None:
    rows = [f"2024-01-{1 + n // 24:02}T{n % 24:02}:00:00,{n % 13}" for n in range(24 * 20)]
    _, fitted = prepare("t,y", rows, order="t")
    assert fitted.transform.calendar[0].parts == (CalendarPart.HOUR, CalendarPart.WEEKDAY)


@pytest.mark.parametrize(
    ("values", "settings", "task", "classes"),
    [
        (["a", "b"], {}, Task.CLASSIFICATION, ("a", "b")),
        (["3", "1", "2"], {}, Task.CLASSIFICATION, (1, 2, 3)),
        (["3", "1", "2"], {"task": "regression"}, Task.REGRESSION, ()),
        ([str(n) for n in range(11)], {}, Task.REGRESSION, ()),
        ([str(n) for n in range(11)], {"task": "classification"}, Task.CLASSIFICATION, tuple(range(11))),
        (["0.5", "1.5"], {}, Task.REGRESSION, ()),
        (["true", "false"], {}, Task.CLASSIFICATION, (0, 1)),
        (["7", "8"], {"categorical": "y"}, Task.CLASSIFICATION, ("7", "8")),
    ],
)
def test_the_task_follows_from_the_target(
    prepare: Prepare, values: list[str], settings: dict[str, Any], task: Task, classes: tuple[Any, ...]
) -> None:
    _, fitted = prepare("x,y", [f"{n * 0.3:.1f},{values[n % len(values)]}" for n in range(110)], **settings)
    assert fitted.transform.table.task is task
    assert fitted.transform.classes == classes


@pytest.mark.parametrize(
    ("rows", "settings", "expected"),
    [
        ([f"{n},5" for n in range(60)], {}, "target 'y' is '5' in all 42 training rows"),
        ([f"{n}," for n in range(60)], {}, "target 'y' has no value"),
        ([f"{n},2024-01-{1 + n % 28:02}" for n in range(60)], {}, "holds times"),
        ([f"{n},{'ab'[n % 2]}" for n in range(60)], {"task": "regression"}, "holds texts"),
        ([f"{n},{n * 0.5}" for n in range(60)], {"task": "classification"}, "holds fractions"),
        ([f"{n}e200,{n}" for n in range(60)], {}, "too large to square"),
        ([f"{'ab'[n % 2]},{n}" for n in range(60)], {"products": "x"}, "products need quantities"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    prepare: Prepare, rows: list[str], settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepare("x,y", rows, **settings)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_named_row_cannot_go_with_a_history(prepare: Prepare) -> None:
    rows = [f"{n},{n},{n * 0.5}" for n in range(100)]
    with pytest.raises(DataError, match="named 'row'"):
        prepare("t,row,y", rows, order="t")
    prepare("t,row,y", rows, order="t", history="none")


def test_rows_that_lack_history_target_or_input_are_counted_and_kept_out_of_the_loss(
    build: Callable[..., tuple[Dataset, Transform, FeatureSet]],
) -> None:
    rows = [f"{n},{'' if n == 20 else n % 9 + 0.5},{'' if n == 40 else n * 0.5}" for n in range(200)]
    settings = {"order": "t", "lags": "1,3", "window": "none", "missing": "drop"}
    _, _, made = build("t,x,y", rows, **settings)
    left = made.left_out[Part.TRAIN]
    assert (left.target, left.history, left.inputs) == (1, 3 + 2, 1)
    assert set(usable(made, Part.TRAIN)) == set(range(140)) - {0, 1, 2, 20, 40, 41, 43}
    assert matrix(made).shape[0] == 200


def test_held_out_rows_see_the_rows_before_across_the_boundary(
    build: Callable[..., tuple[Dataset, Transform, FeatureSet]],
) -> None:
    data, transform, made = build("t,y", [f"{n},{n * 0.5}" for n in range(200)], order="t", lags="1", window="none")
    first = data.spill.rows - data.sizes[Part.TEST]
    lag = matrix(made)[first, transform.feature_names.index("y.lag1")]
    assert lag == np.float32((0.5 * (first - 1) - transform.target_mean) / transform.target_std)
    assert made.left_out[Part.VALIDATION].history == 0


@pytest.mark.parametrize(
    ("rows", "settings", "expected"),
    [
        (
            [f"{n},{n * 0.5}" for n in range(50)],
            {"order": "t"},
            "5 of 35 train rows are left, at least 8 are needed: 30",
        ),
        ([f",{n * 0.5}" for n in range(50)], {"missing": "drop"}, "0 of 35 train rows are left"),
    ],
)
def test_when_nothing_is_left_to_learn_from_the_reasons_are_told(
    build: Callable[..., tuple[Dataset, Transform, FeatureSet]],
    rows: list[str],
    settings: dict[str, Any],
    expected: str,
) -> None:
    with pytest.raises(DataError) as caught:
        build("t,y", rows, **settings)
    assert expected in str(caught.value)


def test_a_class_that_only_validation_has_stays_out_of_the_loss(
    build: Callable[..., tuple[Dataset, Transform, FeatureSet]],
) -> None:
    rows = [f"{n},{n % 7 + 0.5},{'new' if n in (145, 190) else 'ab'[n % 2]}" for n in range(200)]
    data, transform, made = build("t,x,y", rows, order="t")
    assert transform.classes == ("a", "b")
    assert made.left_out[Part.VALIDATION].target == 1
    coded = features.Coder(transform, data.spill)(data.spill.read(190, 192))
    assert features.class_indices(transform, coded[:, 2]).tolist() == [-1, 1]
