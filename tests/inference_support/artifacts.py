"""Small artifacts with every kind of column, packed by the contract itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from inference.contract import artifact
from inference.contract.artifact import Artifact, Golden, Manifest
from inference.contract.network import Activation, NetworkSpec, Single
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Column, Kind, Schema, Task
from inference.contract.transform import (
    CalendarFit,
    CalendarPart,
    HistoryFit,
    LevelsFit,
    NumericFit,
    Transform,
)

COLUMNS = (
    Column(name="when", kind=Kind.TIME),
    Column(name="temp", kind=Kind.NUMERIC),
    Column(name="wind", kind=Kind.NUMERIC),
    Column(name="season", kind=Kind.INTEGER),
    Column(name="sky", kind=Kind.CATEGORICAL),
)
SKIES = ("clear", "mist", "rain")


def transform(
    task: Task = Task.REGRESSION, *, history: bool = True, missing_history: Literal["impute", "reject"] = "impute"
) -> Transform:
    """Clipping, imputing, a product, a calendar, codes, levels, and (by wish) lags and a window."""
    regression = task is Task.REGRESSION
    target = Column(name="count" if regression else "busy", kind=Kind.NUMERIC if regression else Kind.CATEGORICAL)
    past = (
        HistoryFit(name=target.name, lags=(1, 3), window=3, mean=50.0, std=20.0, of_target=True),
        HistoryFit(name="temp", lags=(2,), window=2, mean=15.0, std=8.0, of_target=False),
    )
    return Transform(
        table=Schema(columns=(*COLUMNS, target), target=target.name, task=task, order=("when",)),
        numeric=(
            NumericFit(name="temp", impute=15.0, mean=15.0, std=8.0, lower=-10.0, upper=40.0),
            NumericFit(name="wind", impute=3.0, mean=4.0, std=2.0),
        ),
        products=("temp", "wind"),
        calendar=(CalendarFit(name="when", parts=(CalendarPart.HOUR, CalendarPart.WEEKDAY)),),
        levels=(LevelsFit(name="season", levels=(1.0, 2.0, 3.0, 4.0)), LevelsFit(name="sky", levels=SKIES)),
        history=past if history and regression else (),
        missing_history=missing_history,
        target_mean=50.0 if regression else 0.0,
        target_std=20.0 if regression else 1.0,
        classes=() if regression else ("no", "some", "very"),
    )


def plain_transform(features: int) -> Transform:
    """Numeric columns `x0`, `x1`, … and a target: what benchmarks use."""
    names = [f"x{number}" for number in range(features)]
    columns = (*(Column(name=name, kind=Kind.NUMERIC) for name in names), Column(name="y", kind=Kind.NUMERIC))
    return Transform(
        table=Schema(columns=columns, target="y", task=Task.REGRESSION),
        numeric=tuple(NumericFit(name=name, impute=0.0, mean=0.1, std=1.3, lower=-9.0, upper=9.0) for name in names),
    )


def weights(spec: NetworkSpec, seed: int = 0) -> dict[str, Single]:
    """Weights drawn from a seed, scaled so that outputs stay near 1."""
    generator = np.random.default_rng(seed)
    return {
        name: (generator.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in spec.shapes.items()
    }


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A row of `COLUMNS`, made from its number alone."""
    generator = np.random.default_rng(number)
    return {
        "when": f"2024-03-{1 + number // 24 % 28:02d}T{number % 24:02d}:00:00",
        "temp": round(float(generator.normal(15, 8)), 3),
        "wind": round(float(generator.gamma(2, 2)), 3),
        "season": 1 + number % 4,
        "sky": SKIES[number % 3],
    } | changes


def instances(of: Transform, count: int, start: int = 0) -> list[Any]:
    """Requests' rows: with their history where the transform wants one."""
    if any(column.name.startswith("x") for column in of.table.inputs):
        generator = np.random.default_rng(start)
        return [
            [round(value, 3) for value in row] for row in generator.normal(size=(count, len(of.table.inputs))).tolist()
        ]
    target = of.table.target
    if not of.history:
        return [record(number) for number in range(start, start + count)]
    return [
        {
            "row": record(number),
            "history": [record(past, **{target: 40.0 + past % 17}) for past in range(number - of.history_rows, number)],
        }
        for number in range(start + of.history_rows, start + of.history_rows + count)
    ]


def make(of: Transform, *, seed: int = 0, hidden: tuple[int, ...] = (16, 8), name: str = "small") -> Artifact:
    """A model of this transform with golden rows; `pack` writes it."""
    spec = NetworkSpec(
        inputs=len(of.feature_names), hidden=hidden, outputs=max(1, len(of.classes)), activation=Activation.RELU
    )
    manifest = Manifest(
        name=name, transform=of, network=spec, metrics={}, rows={"train": 1}, versions={"sagestage": "test"}
    )
    drawn = weights(spec, seed)
    golden = instances(of, 8, start=100)
    answers = answer(Artifact(manifest, drawn, Golden(instances=[], predictions=[])), golden)
    odds = None if answers.probabilities is None else answers.probabilities.tolist()
    return Artifact(manifest, drawn, Golden(instances=golden, predictions=answers.values.tolist(), probabilities=odds))


def answer(model: Artifact, rows: list[Any]) -> Predictions:
    """What the model must answer: the offline path, without a server."""
    of = model.manifest.transform
    return Predictions.of(of, model.forward(of.apply(RecordReader(of).read(rows)).matrix))


def pack(model: Artifact, path: Path) -> str:
    """Write the model's archive; its sha256."""
    return artifact.pack(path, model.manifest, model.weights, model.golden)
