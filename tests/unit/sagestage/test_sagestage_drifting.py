from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from sagestage import drift_picture, prove
from sagestage.drifting import Event, Story
from sagestage.shifting import PEOPLE, WIND, Call, Callers, World
from training import demo


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(demo.write(tmp_path_factory.mktemp("demo") / "demo.csv", rows=600), history=3)


def test_a_windy_row_is_the_same_row_with_more_wind_and_fewer_people(world: World) -> None:
    still, truth = world.draw(np.random.Generator(np.random.PCG64(1)), windy=False)
    windy, fewer = world.draw(np.random.Generator(np.random.PCG64(1)), windy=True)
    assert windy["row"]["windspeed"] == pytest.approx(still["row"]["windspeed"] * WIND, abs=0.06)
    assert fewer == round(truth * PEOPLE)
    assert {**windy["row"], "windspeed": 0} == {**still["row"], "windspeed": 0}
    assert len(windy["history"]) == 3
    assert "demand" not in windy["row"]
    assert "demand" in windy["history"][0]


def test_the_newest_data_lie_whole_weeks_later(world: World) -> None:
    made = list(csv.DictReader(io.StringIO(world.newest().decode())))
    assert len(made) == 600
    assert made[0]["timestamp"] == "2025-05-26T00:00:00"  # a Monday, as 2024-04-01 was
    assert float(made[5]["windspeed"]) == pytest.approx(world.rows[5]["windspeed"] * WIND, abs=0.06)


def story(world: World) -> Story:
    made = Story(1_000.0, 120.0, "a" * 12, "b" * 12, seconds=200.0)
    made.events = [Event(60.0, "the traffic shifts"), Event(90.0, "the drift alarm fires")]
    made.points = {
        "FeatureDrift": [(30.0, 0.01), (95.0, 0.9), (180.0, 0.02)],
        "DriftedColumns": [(30.0, 0.0), (95.0, 1.0), (180.0, 0.0)],
        "R2": [(30.0, 0.95), (95.0, -0.4), (180.0, 0.96)],
    }
    made.alarms = [(20.0, ()), (96.0, ("champion-drift",)), (150.0, ("champion-drift",)), (190.0, ())]
    calls = [Call(1_000.0 + at, "a" * 12 if at < 120 else "b" * 12) for at in range(200)]
    made.callers = Callers(None, None, "demand", world, ("bucket", "labels"), calls=calls)
    return made


def test_the_picture_shows_the_alarm_from_when_it_fired_to_when_it_recovered(world: World, tmp_path: Path) -> None:
    told = story(world)
    text = drift_picture.write(told, tmp_path / "drift.svg").read_text()
    root = ET.fromstring(text)  # noqa: S314  # our own
    bands = [one for one in root.iter() if one.get("class") == "a"]
    assert len(bands) == 1
    assert "the drift alarm fires" in text
    points = [one for one in root.iter() if one.get("class") == "d hit"]
    assert len(points) == 3, "the index above its bound, a column that drifted, R2 below its own"
    rows = drift_picture.table(told)
    assert rows.row_count == 5 + len(told.events)


def test_an_alarm_on_an_expression_is_fed_all_its_metrics() -> None:
    metric = {"Namespace": "Sagestage/Model", "Dimensions": [{"Name": "EndpointName", "Value": "e"}]}
    alarm = {
        "AlarmName": "drift", "Threshold": 0.3, "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1,
        "Metrics": [
            {"Id": name, "MetricStat": {"Metric": {**metric, "MetricName": what}, "Period": 3600, "Stat": "Maximum"}}
            for name, what in (("drift", "FeatureDrift"), ("columns", "DriftedColumns"))
        ] + [{"Id": "alarming", "Expression": "IF(columns > 0, drift, 0)"}],
    }  # fmt: skip
    assert [one["MetricName"] for one in prove.series(alarm)] == ["FeatureDrift", "DriftedColumns"]
    assert prove.period(alarm) == 3600
    assert prove.values(alarm) == (0.15, 1.6)
    quality = {"MetricName": "R2", "Namespace": "n", "Dimensions": [], "Threshold": 0.7, "Statistic": "Minimum",
               "ComparisonOperator": "LessThanThreshold"}  # fmt: skip
    assert prove.values(quality) == (0.85, 0.0), "no R2 is above 1"
