from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.contract import artifact
from inference.contract.artifact import Manifest
from inference.contract.network import NetworkSpec, forward
from inference.contract.predictions import Predictions
from inference.contract.schema import Rows
from training import champion, demo, drift, drift_series, features
from training.config import TrainConfig
from training.dataset import Part
from training.errors import DataError
from training.heldout import HeldOut
from training.monitor.baseline import Baseline
from training.package import golden
from training.prepared import Prepared, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    place = tmp_path_factory.mktemp("champion")
    data = demo.write(place / "demo.csv", rows=1_000)
    config = TrainConfig(data=data, target=demo.TARGET, order=demo.ORDER, output=place / "out")
    with prepare(config) as made:
        yield made


def actual(prepared: Prepared) -> np.ndarray[Any, np.dtype[np.float64]]:
    return features.actual(prepared.dataset, prepared.transform, Part.TEST)


def packed(prepared: Prepared, folder: Path, until: str | None = "2024-04-20T00:00:00") -> Path:
    """A model of random weights as an archive."""
    transform = prepared.transform
    network = NetworkSpec(inputs=len(transform.feature_names), hidden=(4,), outputs=1)
    random = np.random.Generator(np.random.PCG64(0))
    weights = {name: 0.1 * random.normal(size=shape).astype(np.float32) for name, shape in network.shapes.items()}
    weights = {name: weight.astype(np.float32) for name, weight in weights.items()}
    held_out = HeldOut.of(prepared.dataset, transform, limit=50)
    tested, _ = prepared.features.table.whole(Part.TEST)
    rows = golden(held_out, Predictions.of(transform, forward(network, weights, tested[:50])))
    manifest = Manifest(
        name="old", transform=transform, network=network, metrics={}, rows={}, trained_until=until, versions={}
    )
    artifact.pack(folder / "model.tar.gz", manifest, weights, rows)
    return folder / "model.tar.gz"


def test_a_better_model_passes_and_a_worse_one_does_not(prepared: Prepared, tmp_path: Path) -> None:
    duel = champion.challenge(prepared, str(packed(prepared, tmp_path)))
    truth = actual(prepared)
    assert len(duel.rows) == len(truth), "every test row is new to both"
    good = duel.compare(Predictions(truth + 1.0), prepared.transform, truth, 0.05)
    assert good.passed
    assert good.gain is not None
    assert good.gain > 0.9
    bad = duel.compare(Predictions(truth + 1_000.0), prepared.transform, truth, 0.05)
    assert not bad.passed
    assert "higher than champion old's on the same 150 rows" in str(bad)


def test_the_same_model_is_neither_better_nor_worse(prepared: Prepared, tmp_path: Path) -> None:
    place = packed(prepared, tmp_path)
    duel = champion.challenge(prepared, str(place))
    model = champion.load(str(place))
    tested, _ = prepared.features.table.whole(Part.TEST)
    same = duel.compare(
        Predictions.of(prepared.transform, model.forward(tested)), prepared.transform, actual(prepared), 0.0
    )
    assert (same.gain, same.low, same.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_rows_that_the_champion_was_trained_on_do_not_count(prepared: Prepared, tmp_path: Path) -> None:
    half = packed(prepared, tmp_path, until="2024-05-09T00:00:00")  # the test part runs from 2024-05-06 to 05-12
    assert 30 < len(champion.challenge(prepared, str(half)).rows) < 150
    with pytest.raises(DataError, match=r"0 test rows are later than both models' training.*take later data"):
        champion.challenge(prepared, str(packed(prepared, tmp_path, until="2030-01-01T00:00:00")))
    with pytest.raises(DataError, match="manifest has no order"):
        champion.challenge(prepared, str(packed(prepared, tmp_path, until=None)))


def test_a_champion_that_is_gone_damaged_or_of_other_columns_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"champion .*gone\.tar\.gz: no such file"):
        champion.challenge(prepared, str(tmp_path / "gone.tar.gz"))
    place = packed(prepared, tmp_path)
    config = prepared.config.model_copy(update={"drop": ("humidity",), "output": tmp_path / "out"})
    with prepare(config) as other, pytest.raises(DataError, match="lacks or reads otherwise: humidity: do not drop"):
        champion.challenge(other, str(place))
    place.write_bytes(b"not an archive")
    with pytest.raises(DataError, match="not a readable"):
        champion.challenge(prepared, str(place))


def test_the_baseline_for_drift_counts_every_training_row(prepared: Prepared) -> None:
    files = drift.baseline(prepared.dataset)
    statistics, constraints = files["statistics.json"], files["constraints.json"]
    rows = prepared.dataset.sizes[Part.TRAIN]
    assert statistics["dataset"] == {"item_count": rows}
    values = np.concatenate(list(prepared.dataset.part(Part.TRAIN, 100)))
    for feature in statistics["features"]:
        column = values[:, prepared.dataset.index(feature["name"])]
        present = int((~np.isnan(column)).sum())
        kind = "string_statistics" if feature["inferred_type"] == "String" else "numerical_statistics"
        found = feature[kind]
        assert found["common"] == {"num_present": present, "num_missing": rows - present}
        form = "categorical" if kind == "string_statistics" else "kll"
        buckets = found["distribution"][form]["buckets"]
        assert sum(bucket["count"] for bucket in buckets) == present
        if form == "kll":
            assert (found["min"], found["max"]) == (np.nanmin(column), np.nanmax(column))
            assert found["std_dev"] == pytest.approx(np.nanstd(column, ddof=1))
    by_name = {feature["name"]: feature for feature in constraints["features"]}
    assert set(by_name["weather"]["string_constraints"]["domains"]) <= set(demo.WEATHER)
    assert by_name["demand"]["num_constraints"] == {"is_non_negative": True}
    assert by_name["humidity"]["completeness"] < 1.0


def test_the_series_of_the_baseline_are_the_training_rows_in_order(prepared: Prepared) -> None:
    rows = prepared.dataset.sizes[Part.TRAIN]

    def predict(coded: Rows) -> Predictions:
        return Predictions(np.arange(len(coded.emit), dtype=np.float64))

    made = drift_series.series(prepared.dataset, prepared.transform, predict, name="m", sha256="ab" * 32)
    read = Baseline.model_validate_json(made.dump())
    assert [scale.name for scale in read.monitored] == [
        "temperature", "humidity", "windspeed", "weather", "promotion", "holiday"
    ]  # fmt: skip
    assert read.codes.shape == (rows, 6)
    assert read.hours is not None
    assert read.hours.tolist() == [hour % 24 for hour in range(rows)]
    values = np.concatenate(list(prepared.dataset.part(Part.TRAIN, 100)))
    temperature = values[:, prepared.dataset.index("temperature")]
    np.testing.assert_array_equal(read.codes[:, 0], read.monitored[0].of(temperature))
    weather = values[:, prepared.dataset.index("weather")]
    texts = prepared.dataset.spill.texts["weather"]
    places = read.monitored[3].places
    assert read.codes[:, 3].tolist() == [places[texts[int(code)]] for code in weather]
    assert read.answers is not None
    shares = np.bincount(read.answers, minlength=10)[:10] / rows
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
