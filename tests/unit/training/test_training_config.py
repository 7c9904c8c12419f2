from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from inference.contract.schema import Task
from training.config import TrainConfig
from training.errors import ConfigError
from training.gate import Gate, check_task, judge


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.model_validate({"data": "x.csv", "target": "y", **settings})


def problems(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_texts_make_the_same_settings_as_values() -> None:
    texts = config(order="a, b", lags="1,2", hidden="8,4", epochs="3", use_gpu="false", gates="r2>=0.5", window="none")
    values = config(order=("a", "b"), lags=(1, 2), hidden=(8, 4), epochs=3, gates=(Gate.parse("r2>=0.5"),), window=None)
    assert texts == values


def test_every_problem_is_told_at_once_with_its_value() -> None:
    text = problems(epochs=0, learning_rate="fast", foo=1, gates="r2=8")
    assert "epochs" in text
    assert "got 0" in text
    assert "'fast'" in text
    assert "'foo'" in text
    assert "'r2=8'" in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"drop": "y"}, "target 'y' is also to be dropped"),
        ({"order": "y"}, "cannot order the rows"),
        ({"history": "x"}, "needs rows in an order"),
        ({"drop": "x", "products": "x"}, "products names columns that are dropped: x"),
        ({"validation": 0.45, "test": 0.45}, "leave less than 0.2 for training"),
        ({"task": "classification", "gates": "r2>=0.5"}, "a classification has no r2"),
        ({"name": "../up"}, "'../up'"),
        ({"window": 1}, "got 1"),
        ({"lags": "0"}, "got '0'"),
        ({"gates": "r3>=0.5"}, "no metric is named 'r3'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], expected: str) -> None:
    assert expected in problems(**settings)


def test_zero_is_a_value() -> None:
    assert config(weight_decay=0, seed=0, dropout=0, lags="", products="none").lags == ()


def test_models_share_a_preparation_unless_it_depends_on_what_differs() -> None:
    assert config(order="t", seed=1).preparation() == config(order="t", seed=2, hidden=(3,), epochs=9).preparation()
    assert config(seed=1).preparation() != config(seed=2).preparation()
    assert config(lags=(1,)).preparation() != config().preparation()


def test_a_gate_compares_as_it_says() -> None:
    assert Gate.parse(" R2 >= .8 ").met(0.8)
    assert not Gate.parse("r2>0.8").met(0.8)
    assert Gate.parse("mae<=1e1").met(10.0)
    assert not Gate.parse("rmse<10").met(10.0)


def test_an_undefined_metric_never_passes() -> None:
    verdict = judge([Gate.parse("auc>=0.5"), Gate.parse("accuracy>=0.1")], {"accuracy": 1.0})
    assert not verdict.passed
    assert verdict.reason == "auc>=0.5 missed: undefined on the held-out rows"
    assert not Gate.parse("r2<=5").met(float("nan"))


def test_no_gate_lets_everything_pass() -> None:
    assert judge([], {}).passed


def test_a_gate_on_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="a regression has no accuracy"):
        check_task([Gate.parse("accuracy>=0.5")], Task.REGRESSION)


@pytest.mark.parametrize("module", ["training.config", "training.demo", "training.gate", "training.events"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    heavy = "torch", "ray", "pandas", "pyarrow"
    code = f"import {module}, sys; print(*[name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
