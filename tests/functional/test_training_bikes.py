"""The bike-sharing file in time order: as good as gradient boosting on the same features, or nearly."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.config import TrainConfig
from training.errors import DataError
from training.run import prepare, train

BIKES = Path(__file__).resolve().parents[3] / "shared/data/bike_sharing_hour.csv"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BIKES.exists(), reason=f"{BIKES.name} is not on this machine")]
SETTINGS = {"data": BIKES, "target": "cnt", "order": "dteday,hr"}


def test_it_reaches_what_boosting_reaches(tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**SETTINGS, "drop": "instant,casual,registered", "output": tmp_path})
    result = train(config)
    naive, boosting = result.evaluation.baselines
    assert result.metrics["r2"] >= 0.97 * boosting.metrics["r2"]
    assert result.metrics["r2"] > naive.metrics["r2"]


def test_its_leak_is_found_by_name(tmp_path: Path) -> None:
    config = TrainConfig.model_validate({**SETTINGS, "drop": "instant", "output": tmp_path})
    with pytest.raises(DataError, match="casual, registered together give the target 'cnt' away"), prepare(config):
        pass
