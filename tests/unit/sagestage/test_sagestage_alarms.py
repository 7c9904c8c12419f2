"""The alarms of a stack as rules for Prometheus, and as a list; found without a cloud."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest
import yaml

from inference import exposition, telemetry
from infra import Alarm, Variant, alarm_plan
from infra.endpoint_spec import EndpointSpec
from sagestage import alarms
from sagestage.offline import Declared, declared
from sagestage.project import Project

with warnings.catch_warnings():
    # pulumi-aws warns of its own old S3 names when they are loaded, and warnings are errors here: load them now
    warnings.simplefilter("ignore", DeprecationWarning)
    _ = aws.s3.Bucket

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = {"sum", "rate", "histogram_quantile", "absent", "by", "or", "le"}


class Model:
    model_name = "m"


def bounds(*given: Alarm) -> list[alarms.Bound]:
    spec = EndpointSpec(
        "e", "p-s-e", variants=(Variant("main", Model(), instance="ml.m5.large", instances=2),), alarms=given
    )
    made = []
    for watch in alarm_plan.watches(spec):
        args = alarm_plan.alarm(spec, watch, config_name="c", tags={})
        inputs = {re.sub(r"_(\w)", lambda found: found[1].upper(), key): value for key, value in args.items()}
        made.append(Declared("aws:cloudwatch/metricAlarm:MetricAlarm", watch.name, inputs))
    return alarms.bounds(made)


def promql(given: Alarm) -> str | None:
    return {one.metric: alarms.promql(one) for one in bounds(given)}[given.metric]


def well_formed(expression: str) -> None:
    """As far as that can be told without promtool: brackets, names, matchers and the bound."""
    text = re.sub(r'"[^"]*"', '""', expression)
    for opening, closing in ("()", "{}", "[]"):
        assert text.count(opening) == text.count(closing)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", text)
    for matcher in re.findall(r"\{([^}]*)\}", text):
        assert re.fullmatch(r'(\w+(=|=~)""(, )?)+', matcher)
    assert all(re.fullmatch(r"\d+[smh]", window) for window in re.findall(r"\[([^]]*)\]", text))
    words = set(re.findall(r"[a-z_]{2,}", bare))
    assert all(word in FUNCTIONS or word.startswith("sagestage_") for word in words), words
    assert re.search(r" [<>] [\d.e+-]+", bare)


def test_a_latency_bound_is_a_quantile_of_the_whole_request_in_seconds() -> None:
    assert promql(Alarm.p95_latency(above_ms=50)) == (
        "histogram_quantile(0.95, sum by (le) (rate(sagestage_latency_seconds_bucket"
        '{endpoint="p-s-e", variant="main", stage="request"}[2m]))) > 0.05'
    )


def test_an_error_rate_is_a_share_and_an_error_count_is_per_minute() -> None:
    rate = promql(Alarm.server_errors(above_percent=1))
    count = promql(Alarm.client_error_count(above=5))
    assert rate is not None
    assert count is not None
    assert rate.endswith("> 0.01")
    assert 'status=~"5.."' in rate
    assert count.endswith("* 60 > 5")


def test_silence_fires_as_well_when_nothing_is_scraped() -> None:
    expression = promql(Alarm.silence())
    assert expression is not None
    assert "< 1 or absent(" in expression


@pytest.mark.parametrize(
    "alarm",
    [Alarm.overhead_latency(above_ms=5), Alarm.disk(), Alarm.cpu(above_percent=80), Alarm.memory(above_percent=80)],
)
def test_what_the_server_does_not_export_is_a_comment_with_its_reason(alarm: Alarm) -> None:
    text = alarms.rules("local", bounds(alarm))
    assert re.search(rf"^#   p-s-e-main-\S+: {alarm.metric}: .+$", text, re.MULTILINE)
    names = [rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert names == ["p-s-e-main-5xx-rate"]


def test_alarms_of_a_deployment_alone_have_no_rule() -> None:
    assert not [one for one in bounds(Alarm.p95_latency()) if one.name.endswith("-rollback")]


@pytest.mark.parametrize("stack", ["prod", "staging", "nightly"])
def test_the_rules_of_every_stack_are_a_rules_file(stack: str) -> None:
    body = yaml.safe_load(alarms.rules(stack, alarms.bounds(declared(Project(ROOT), stack))))
    assert set(body) == {"groups"}
    assert len({group["name"] for group in body["groups"]}) == len(body["groups"]) > 0
    for group in body["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
            assert re.fullmatch(r"\d+m", rule["for"])
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert "{{" not in rule["annotations"]["summary"]
            well_formed(rule["expr"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: package prometheus)")
@pytest.mark.parametrize("stack", ["prod", "staging", "nightly"])
def test_promtool_accepts_the_rules_of_every_stack(stack: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(alarms.rules(stack, alarms.bounds(declared(Project(ROOT), stack))))
    checked = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


def test_the_rules_are_over_names_and_labels_that_the_server_exports() -> None:
    source = Path(exposition.__file__).read_text()
    for name in (alarms.REQUESTS, alarms.LATENCY):
        assert f'"{name}"' in source
    assert 'total.labels | {"status": str(status)}' in source
    assert "request" in telemetry.STAGES


def test_the_resources_of_a_stack_are_found_without_a_cloud_and_leave_nothing(capsys: Any) -> None:
    found = declared(Project(ROOT), "prod")
    assert len(found) > 30
    assert {one.inputs["name"] for one in found if one.type.endswith("endpoint:Endpoint")} == {"sagestage-prod-demand"}
    policies = [one.inputs["policy"] for one in found if one.type.endswith(":TopicPolicy") or "sns/topic:" in one.type]
    assert all("444455556666" in policy for policy in policies)
    assert not (ROOT / ".sagestage" / "stacks" / "sagestage" / "prod.json").exists()
    alarms.show(Project(ROOT), "prod", prometheus=False, as_json=True)
    assert "sagestage-prod-demand-champion-p95-latency-rollback" in capsys.readouterr().out
