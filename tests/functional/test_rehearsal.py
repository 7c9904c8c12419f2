"""The main job as a user runs it: the installed command, a project of its own, real processes, real AWS clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sagestage_support.user import User, make_project, processes_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[User, dict]]:
    user = make_project(tmp_path_factory.mktemp("project"))
    try:
        yield user, user.json("rehearse", "--requests", "300", "--prove-alarms")
    finally:
        user.sagestage("cloud", "stop")


def test_the_rehearsal_reports_what_it_did(rehearsed: tuple[User, dict]) -> None:
    _, report = rehearsed
    assert report["problems"] == []
    assert report["endpoint"] == "sagestage-local-demand"
    assert set(report["variants"]) == {"champion", "challenger"}
    assert sum(variant["requests"] for variant in report["variants"].values()) == 300
    assert all(metrics["r2"] >= 0.8 for metrics in report["metrics"].values())
    assert report["capture"]["records"] > 0
    assert all(artifact["sha256"] in artifact["uri"] for artifact in report["artifacts"].values())


def test_broken_models_are_rolled_back_and_the_declared_one_is_in_service_again(rehearsed: tuple[User, dict]) -> None:
    _, report = rehearsed
    acts = {act["name"]: act for act in report["rollouts"]}
    assert list(acts) == ["promotion", "late", "failing", "wrong", "return"]
    assert [name for name, act in acts.items() if act["rolled_back"]] == ["late", "failing", "wrong"]
    assert all(act["problems"] == [] for act in acts.values())
    assert all(act["errors"] == 0 for name, act in acts.items() if name != "failing")
    assert "p95-latency" in acts["late"]["reason"]
    assert "5xx-rate" in acts["failing"]["reason"]
    assert "golden" in acts["wrong"]["reason"]


def test_every_declared_alarm_fires_and_recovers(rehearsed: tuple[User, dict]) -> None:
    _, report = rehearsed
    assert len(report["alarms"]) >= 4
    assert all(alarm["alive"] for alarm in report["alarms"].values())
    assert {target["met"] for target in report["targets"]} <= {True, False, None}


def test_the_aws_cli_lists_describes_and_invokes_the_endpoint(rehearsed: tuple[User, dict]) -> None:
    user, report = rehearsed
    listed = json.loads(user.aws("sagemaker", "list-endpoints").stdout)
    assert [one["EndpointName"] for one in listed["Endpoints"]] == [report["endpoint"]]
    described = json.loads(user.aws("sagemaker", "describe-endpoint", "--endpoint-name", report["endpoint"]).stdout)
    assert described["EndpointStatus"] == "InService"
    request = user.folder / ".sagestage/request.json"
    answer = user.aws(
        *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", report["endpoint"]),
        *("--target-variant", "challenger", "--content-type", "application/json"),
        *("--body", f"fileb://{request}", str(user.folder / "answer.json")),
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["InvokedProductionVariant"] == "challenger"
    body = json.loads((user.folder / "answer.json").read_text())
    assert body["model_version"] == report["artifacts"]["challenger"]["sha256"][:12]
    assert len(body["predictions"]) == 1


def test_invoke_and_status_answer(rehearsed: tuple[User, dict]) -> None:
    user, report = rehearsed
    answer = user.sagestage("invoke", "--data", ".sagestage/request.json", "--variant", "champion")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["model_version"] == report["artifacts"]["champion"]["sha256"][:12]
    assert "champion" in answer.stderr
    (endpoint,) = user.json("status")["endpoints"]
    assert (endpoint["name"], endpoint["status"]) == (report["endpoint"], "InService")


def test_an_unknown_variant_is_one_line(rehearsed: tuple[User, dict]) -> None:
    user, _ = rehearsed
    answer = user.sagestage("invoke", "--data", ".sagestage/request.json", "--variant", "rival")
    assert answer.returncode == 1
    assert "rival" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_second_up_changes_nothing(rehearsed: tuple[User, dict]) -> None:
    user, _ = rehearsed
    before = user.json("status")
    result = user.json("up")
    assert set(result["summary"]) == {"same"}
    assert user.json("status") == before
    assert user.json("preview")["summary"] == result["summary"]


def test_only_the_owner_reads_the_passphrase(rehearsed: tuple[User, dict]) -> None:
    user, _ = rehearsed
    secret = user.folder / ".sagestage/passphrase"
    assert len(secret.read_text()) >= 32
    assert secret.stat().st_mode & 0o077 == 0


def test_after_destroy_nothing_is_left(rehearsed: tuple[User, dict]) -> None:  # the last of the fixture's users
    user, report = rehearsed
    user.json("destroy")
    assert user.json("status")["endpoints"] == []
    for operation, key in [("list-endpoint-configs", "EndpointConfigs"), ("list-models", "Models")]:
        assert json.loads(user.aws("sagemaker", operation).stdout)[key] == []
    buckets = json.loads(user.aws("s3api", "list-buckets").stdout)["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == [report["artifacts"]["champion"]["uri"].split("/")[2]]
    assert json.loads(user.aws("iam", "list-roles").stdout)["Roles"] == []
    assert json.loads(user.aws("cloudwatch", "describe-alarms").stdout)["MetricAlarms"] == []
    user.json("up")  # and it can be made again
    assert user.json("status")["endpoints"][0]["status"] == "InService"
    assert user.json("cloud", "stop") == {"stopped": True}
    assert processes_of(user.folder) == []


def test_a_model_that_misses_its_gate_is_not_deployed(tmp_path: Path) -> None:
    user = make_project(tmp_path)
    answer = user.sagestage("rehearse", "--gate", "r2>=0.9999")
    assert answer.returncode == 3, answer.stderr
    assert "r2>=0.9999" in answer.stdout
    assert "not deployed" in answer.stderr
    assert user.json("status")["cloud"] is None
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(600)
def test_traffic_that_shifts_ends_in_a_new_model_that_answers(tmp_path: Path) -> None:
    """The whole loop, with an hour of the monitor's schedule in nine seconds."""
    user = make_project(tmp_path)
    user.patience_s = 540.0
    told = user.json("rehearse", "--drift", "--down", "--time-scale", "400")
    assert told["problems"] == []
    assert (told["answers"] > 1_000, told["errors"]) == (True, 0)
    at = {event["what"]: event["at"] for event in told["events"]}
    assert list(at) == [
        "the traffic shifts", "the drift alarm fires", "a new model has passed its gate", "the new model answers",
        "the stack has taken it over", "the alarm recovers",
    ]  # fmt: skip
    assert told["successor"] != told["champion"]

    drift, quality = told["metrics"]["FeatureDrift"], told["metrics"]["R2"]
    before = [value for moment, value in drift if moment < at["the traffic shifts"]]
    climbed = [v for moment, v in drift if at["the drift alarm fires"] <= moment < at["the new model answers"]]
    assert max(before) < 0.1
    assert max(climbed) > 0.3
    assert drift[-1][1] < 0.1
    worst = min(value for moment, value in quality if moment > at["the traffic shifts"])
    assert worst < 0.7 < quality[-1][1]
    assert "the drift alarm fires" in Path(told["picture"]).read_text()
    page = (tmp_path / ".sagestage/drift-report.html").read_text()
    assert page.index(">predictions<") < page.index(">windspeed<") < page.index(">humidity<")
    assert user.json("status")["cloud"] is None
    assert processes_of(tmp_path) == []
