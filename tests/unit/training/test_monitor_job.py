from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from inference.contract.metrics import NAMESPACE, Monitored
from inference.contract.schema import Task
from tests.training_support import traffic
from tests.training_support.traffic import START, WINDOW
from training import __main__ as entry
from training.errors import ConfigError, DataError
from training.monitor import command, job, publishing
from training.monitor.baseline import Baseline, load
from training.monitor.findings import LEAST_ROWS
from training.monitor.job import Outcome, Settings
from training.monitor.problems import Problem


def look(folder: Path, *, base: Baseline | None = None, **more: Any) -> Outcome:
    (folder / "drift.json").write_bytes((base or traffic.baseline()).dump())
    given = {"baselines": {"": str(folder)}, "window": WINDOW, "output": str(folder / "out"), **more}
    return job.run(Settings("demand", str(folder / "captured"), **given))


def captured(folder: Path, made: list[Any], **more: Any) -> None:
    traffic.write(folder / "captured", made, **more)


def test_traffic_like_the_training_rows_does_not_drift(tmp_path: Path) -> None:
    captured(tmp_path, traffic.records(traffic.rows(1_000)))
    outcome = look(tmp_path)
    metrics = outcome.metrics["champion"]
    assert metrics[Monitored.RECORDS_READ] == 1_000
    assert metrics[Monitored.DRIFTED_COLUMNS] == 0
    assert metrics[Monitored.FEATURE_DRIFT] < 0.03
    assert metrics[Monitored.PREDICTION_DRIFT] < 0.03
    violations = orjson.loads((tmp_path / "out/constraint_violations.json").read_bytes())
    assert violations == {"version": 0.0, "violations": []}


def test_a_shifted_column_and_the_answers_that_follow_it_drift(tmp_path: Path) -> None:
    captured(tmp_path, traffic.records(traffic.rows(1_000, shift=1.0)))
    outcome = look(tmp_path)
    (found,) = outcome.findings
    assert [column.scale.name for column in found.drifted] == ["temp"]
    assert found.columns[0].scale.name == "temp", "the worst column comes first"
    metrics = outcome.metrics["champion"]
    assert metrics[Monitored.FEATURE_DRIFT] > 0.3
    assert metrics[Monitored.PREDICTION_DRIFT] > 0.3
    (violation,) = [
        one for one in orjson.loads((tmp_path / "out/constraint_violations.json").read_bytes())["violations"]
        if one["feature_name"] == "temp"
    ]  # fmt: skip
    assert violation["constraint_check_type"] == "baseline_drift_check"
    page = (tmp_path / "out/report.html").read_text()
    assert page.index(">temp<") < page.index(">sky<")
    assert "<script" not in page
    assert "http" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_a_level_that_becomes_frequent_drifts(tmp_path: Path) -> None:
    captured(tmp_path, traffic.records(traffic.rows(1_000, rain=0.4)))
    assert [column.scale.name for column in look(tmp_path).findings[0].drifted] == ["sky"]


def test_statistics_have_model_monitors_form_and_add_up(tmp_path: Path) -> None:
    made = traffic.rows(500)
    captured(tmp_path, traffic.records(made))
    look(tmp_path)
    statistics = orjson.loads((tmp_path / "out/statistics.json").read_bytes())
    assert statistics["dataset"] == {"item_count": 500}
    by_name = {one["name"]: one for one in statistics["features"]}
    assert list(by_name)[-1] == "prediction"
    temp = by_name["temp"]["numerical_statistics"]
    values = np.array([row["temp"] for row in made])
    assert temp["common"] == {"num_present": 500, "num_missing": 0}
    assert temp["mean"] == pytest.approx(values.mean(), abs=1e-3)
    assert temp["std_dev"] == pytest.approx(values.std(), abs=1e-3)
    assert (temp["min"], temp["max"]) == (values.min(), values.max())
    assert sum(bucket["count"] for bucket in temp["distribution"]["kll"]["buckets"]) == 500
    sky = by_name["sky"]["string_statistics"]["distribution"]["categorical"]["buckets"]
    assert {one["value"]: one["count"] for one in sky} == {
        name: sum(row["sky"] == name for row in made) for name in traffic.SKIES
    }


def test_too_few_rows_publish_only_how_many_records_there_were(tmp_path: Path) -> None:
    captured(tmp_path, traffic.records(traffic.rows(LEAST_ROWS - 1, shift=3.0)))
    outcome = look(tmp_path)
    assert outcome.metrics["champion"] == {Monitored.RECORDS_READ: LEAST_ROWS - 1}
    assert any("too few for drift" in note for note in outcome.notes)


def test_an_empty_window_publishes_that_it_is_empty(tmp_path: Path) -> None:
    captured(tmp_path, [], hour=START - timedelta(hours=9))
    outcome = look(tmp_path, baselines={"champion": str(tmp_path)})
    assert outcome.metrics == {"champion": {Monitored.RECORDS_READ: 0.0}}
    assert any("no capture file is of" in note for note in outcome.notes)


def test_a_baseline_of_another_model_gives_no_drift_and_says_so(tmp_path: Path) -> None:
    other = "f" * 12
    made = [traffic.record([row], number=n, version=other) for n, row in enumerate(traffic.rows(500, shift=2.0))]
    captured(tmp_path, made)
    outcome = look(tmp_path)
    assert outcome.metrics["champion"] == {Monitored.RECORDS_READ: 500}
    assert outcome.problems[Problem.OTHER_MODEL] == 500
    assert any(other in note for note in outcome.notes)
    assert [one.version for one in outcome.findings if not one.known] == [other]


def test_the_hours_of_a_window_are_compared_with_the_same_hours(tmp_path: Path) -> None:
    """Half of the training rows are of the cold hour 10, half of the warm hour 11; the window has only the warm one."""
    base = traffic.baseline(clock=True)
    warm = np.asarray(base.hours) == 11
    codes = base.codes.copy()
    codes[:, 0] = np.where(warm, 9, 0)
    answers = None if base.answers is None else base.answers.copy()
    columns = {"rows": base.rows, "columns": base.columns, "prediction": base.prediction, "clock": "when"}
    fields = {"model": "m", "sha256": base.sha256, "task": base.task, "target": base.target, **columns}
    split = Baseline.packed(codes, answers, np.asarray(base.hours), **fields)
    edge = base.columns[1].edges[-1]
    rows = [row | {"when": "2026-01-01T11:30:00", "temp": edge + 1.0} for row in traffic.rows(600)]
    captured(tmp_path, traffic.records(rows))
    assert not look(tmp_path, base=split).findings[0].drifted
    blind = split.model_copy(update={"clock": None})
    assert [one.scale.name for one in look(tmp_path, base=blind).findings[0].drifted] == ["temp"]


def labels(folder: Path, made: list[Any], name: str = "a.jsonl") -> str:
    place = folder / "truth" / "2026/01/01/10"
    place.mkdir(parents=True, exist_ok=True)
    lines = [one if isinstance(one, bytes) else orjson.dumps(one) for one in made]
    (place / name).write_bytes(b"\n".join(lines))
    return str(folder / "truth")


def test_quality_of_a_regression_has_intervals_around_the_truth(tmp_path: Path) -> None:
    rows = traffic.rows(800)
    captured(tmp_path, traffic.records(rows))
    random = np.random.Generator(np.random.PCG64(9))
    truth = np.array([row["temp"] for row in rows]) + random.normal(0.0, 2.0, 800)
    place = labels(tmp_path, [{"inferenceId": f"id-{n}", "label": float(y)} for n, y in enumerate(truth)])
    outcome = look(tmp_path, truth=place, segment="sky")
    figures = outcome.findings[0].quality
    said = np.array([row["temp"] for row in rows])
    assert figures[Monitored.MAE].value == pytest.approx(np.abs(said - truth).mean())
    r2 = figures[Monitored.R2]
    assert r2.value == pytest.approx(1 - ((said - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert r2.low < r2.value < r2.high
    assert r2.low < 1 - 4 / 29 < r2.high, "the truth of this simulation"
    assert outcome.metrics["champion"][Monitored.R2] == r2.value
    segments = outcome.findings[0].segments
    assert set(segments) == set(traffic.SKIES)
    assert sum(rows for rows, _ in segments.values()) == 800
    assert "Quality, where the truth is known" in (tmp_path / "out/report.html").read_text()


def classified(folder: Path, count: int = 400) -> list[str]:
    made, truth = [], []
    for number, row in enumerate(traffic.rows(count)):
        warm = row["temp"] > 15.0
        share = 0.9 if warm else 0.1
        answer = {"predictions": [int(warm)], "labels": ["warm" if warm else "cold"],
                  "probabilities": [[1 - share, share]]}  # fmt: skip
        made.append(traffic.record([row], answer, number=number))
        truth.append("warm" if (number % 4 == 0) != warm else "cold")
    captured(folder, made)
    return truth


def test_quality_of_a_classification_is_accuracy_and_log_loss(tmp_path: Path) -> None:
    truth = classified(tmp_path)
    aws = [
        {"groundTruthData": {"data": one, "encoding": "CSV"}, "eventMetadata": {"eventId": f"id-{n}"}}
        for n, one in enumerate(truth)
    ]
    outcome = look(tmp_path, base=traffic.baseline(task=Task.CLASSIFICATION), truth=labels(tmp_path, aws))
    figures = outcome.findings[0].quality
    assert figures[Monitored.ACCURACY].value == 0.75
    # Wilson, 300 of 400, gives 0.705 to 0.790; eleven batches take Student's 2.2 for the normal's 1.96
    assert (figures[Monitored.ACCURACY].low, figures[Monitored.ACCURACY].high) == pytest.approx(
        (0.70, 0.795), abs=0.005
    )
    expected = -(0.75 * np.log(0.9) + 0.25 * np.log(0.1))
    assert figures[Monitored.LOG_LOSS].value == pytest.approx(expected)


def test_labels_in_any_order_and_files_give_the_same_quality(tmp_path: Path) -> None:
    truth = classified(tmp_path)
    every = [{"inferenceId": f"id-{n}", "label": one} for n, one in enumerate(truth)]
    base = traffic.baseline(task=Task.CLASSIFICATION)
    one = look(tmp_path, base=base, truth=labels(tmp_path, every))
    labels(tmp_path, every[::-1][:150])
    again = look(tmp_path, base=base, truth=labels(tmp_path, every[::-1][150:], "b.jsonl"), readers=1)
    assert one.findings[0].quality == again.findings[0].quality


def test_labels_that_are_odd_are_counted_and_the_others_judge(tmp_path: Path) -> None:
    truth = classified(tmp_path)
    every: list[Any] = [{"inferenceId": f"id-{n}", "label": one} for n, one in enumerate(truth)]
    odd = [
        every[0],  # twice the same
        {"inferenceId": "id-1", "label": "other"},  # contradictory
        {"inferenceId": "nobody", "label": "warm"},
        b'{"inferenceId": "id-2", "la',
        {"label": "warm"},
    ]
    captured(tmp_path, [traffic.record(traffic.rows(1), identity=None)])
    outcome = look(tmp_path, base=traffic.baseline(task=Task.CLASSIFICATION), truth=labels(tmp_path, every + odd))
    assert outcome.problems == {
        Problem.REPEATED: 1, Problem.CONTRADICTORY: 2, Problem.UNMATCHED: 1, Problem.LABEL: 2, Problem.NO_ID: 1,
        Problem.AMBIGUOUS: 0,
    }  # fmt: skip
    judged = outcome.findings[0].judged
    assert judged is not None
    assert judged.whole.rows == 399


def test_late_labels_judge_the_records_of_an_earlier_window(tmp_path: Path) -> None:
    truth = classified(tmp_path)
    place = labels(tmp_path, [{"inferenceId": f"id-{n}", "label": one} for n, one in enumerate(truth)][:200])
    later = type(WINDOW)(WINDOW.start + timedelta(hours=3), WINDOW.end + timedelta(hours=3))
    more = {"window": later, "truth": place, "truth_delay_s": 3 * 3_600.0}
    base = traffic.baseline(task=Task.CLASSIFICATION)
    outcome = look(tmp_path, base=base, baselines={"champion": str(tmp_path)}, **more)
    metrics = outcome.metrics["champion"]
    assert metrics[Monitored.RECORDS_READ] == 0
    assert metrics[Monitored.ACCURACY] == pytest.approx(0.75, abs=0.1)


def test_a_prefix_of_labels_that_is_gone_and_a_segment_that_is_no_column_are_refused(tmp_path: Path) -> None:
    captured(tmp_path, traffic.records(traffic.rows(300)))
    with pytest.raises(DataError, match="no labels are there"):
        look(tmp_path, truth=str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="'colour' is no input column: there are when, temp"):
        look(tmp_path, segment="colour")


def test_a_baseline_that_is_none_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"drift\.json: no such baseline: train the model again"):
        load(tmp_path)
    (tmp_path / "drift.json").write_text('{"columns": {}}')
    with pytest.raises(DataError, match="is no baseline of this version"):
        load(tmp_path)
    cut = traffic.baseline().model_copy(update={"length": 5_000})
    (tmp_path / "drift.json").write_bytes(cut.dump())
    with pytest.raises(DataError, match="damaged"):
        _ = load(tmp_path).codes


def test_metrics_carry_the_endpoint_and_the_variant() -> None:
    (datum,) = publishing.data("demand", {"champion": {Monitored.FEATURE_DRIFT: 0.4}}, START)
    assert datum["MetricName"] == "FeatureDrift"
    assert datum["Dimensions"] == [
        {"Name": "EndpointName", "Value": "demand"}, {"Name": "VariantName", "Value": "champion"}
    ]  # fmt: skip
    assert NAMESPACE == "Sagestage/Model"


def test_the_command_prints_a_line_a_variant_and_ends_with_4_for_drift(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captured(tmp_path, traffic.records(traffic.rows(1_000, shift=1.0)))
    (tmp_path / "drift.json").write_bytes(traffic.baseline().dump())
    where = ["--endpoint", "demand", "--captured", str(tmp_path / "captured"), "--baseline", f"champion={tmp_path}"]
    when = ["--window", "1h", "--end", "2026-01-01T11:00:00Z"]
    assert entry.main(["monitor", *where, *when, "--output", str(tmp_path / "out")]) == command.DRIFTED
    said = capsys.readouterr().out
    assert "temp drifted: index" in said
    assert "FeatureDrift=" in said
    assert entry.main(["monitor", *where, "--end", "soon"]) == 1
    assert "got 'soon'" in capsys.readouterr().err


def test_a_monitoring_job_takes_its_settings_from_sagemakers_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    traffic.write(tmp_path / "in/demand", traffic.records(traffic.rows(500)))
    (tmp_path / "drift.json").write_bytes(traffic.baseline().dump())
    for name, value in {
        "SAGESTAGE_JOB": "monitor",
        "SAGESTAGE_BASE_DIR": str(tmp_path / "ml"),
        "SAGESTAGE_BASELINES": orjson.dumps({"champion": str(tmp_path)}).decode(),
        "dataset_source": str(tmp_path / "in"),
        "output_path": str(tmp_path / "result"),
        "start_time": "2026-01-01T10:00:00Z",
        "end_time": "2026-01-01T11:00:00Z",
        "sagemaker_endpoint_name": "demand",
        "publish_cloudwatch_metrics": "Disabled",
    }.items():
        monkeypatch.setenv(name, value)
    assert entry.main(["train"]) == 0, "the image's default command is train"
    assert "RecordsRead=500" in capsys.readouterr().out
    assert (tmp_path / "ml/output/message").read_text() == "Completed"
    assert {path.name for path in (tmp_path / "result").iterdir()} == {
        "report.html", "statistics.json", "constraint_violations.json"
    }  # fmt: skip
    monkeypatch.setenv("SAGESTAGE_BASELINES", "[]")
    assert entry.main(["train"]) == 1
    assert "SAGESTAGE_BASELINES must be an object" in capsys.readouterr().err
