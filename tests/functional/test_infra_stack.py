"""The demand stack through its whole life: the embedded engine, the provider, and the embedded cloud."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cloud import docker
from infra.engine import EngineError
from infra.prune import Orphans
from tests.cloud_support.containers import stub_image
from tests.cloud_support.helpers import BUCKET, eventually, running
from tests.functional_support.stacks import Stack, changed
from tests.provider_support.real_cli import Project, cli_path, short, told

ENDPOINT = "sagestage-local-demand"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:  # a bake of ten minutes is one second
        yield Stack(root, cloud)


@pytest.fixture(params=["process", "container"])
def hosted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A stack whose configuration says how its variants run, on a cloud that would run them as processes."""
    if request.param == "container":
        stub_image()
    root = tmp_path / "project"
    root.mkdir()
    with running(tmp_path / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud, hosting=request.param)


def answers(stack: Stack) -> None:
    """Every variant answers, from where the stack's configuration has it run."""
    for name, pids in stack.cloud.processes(ENDPOINT).items():
        answer = stack.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=ENDPOINT, TargetVariant=name, Body=b"{}"
        )
        first = json.load(answer["Body"])["pid"]
        assert (first == 1) if stack.hosting == "container" else (first in pids)
    count = sum(len(pids) for pids in stack.cloud.processes(ENDPOINT).values())
    if stack.hosting == "container":
        eventually(lambda: containers(stack), lambda found: len(found) == count)


def containers(stack: Stack) -> list[str]:
    return docker.call("ps", "--quiet", "--filter", f"label={docker.LABEL}={stack.cloud.info.home}").split()


@pytest.mark.slow
def test_the_stack_is_made_left_alone_updated_and_destroyed(hosted: Stack) -> None:
    stack = hosted
    planned = changed(stack.engine().preview())
    assert set(planned) == {"create"}
    made = stack.engine().up()
    assert changed(made) == planned
    assert made.outputs == {"endpoint": ENDPOINT}
    endpoint = stack.sagemaker().describe_endpoint(EndpointName=ENDPOINT)
    assert endpoint["EndpointStatus"] == "InService"
    answers(stack)
    first = stack.names()
    assert [len(names) for names in first.values()] == [1, 1, 2]
    assert stack.prune() == Orphans((), ())

    assert changed(stack.engine().up()) == {}
    assert changed(stack.engine().refresh()) == {}

    stack.artifacts["challenger"] = stack.upload("challenger", b"2")
    stack.configure()
    again = changed(stack.engine().up())
    assert again["update"] == ["Endpoint", *["MetricAlarm"] * 4]
    assert Counter(again["replace"]) == Counter(["EndpointConfiguration", "Model"])
    running_now = stack.sagemaker().describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    assert running_now != endpoint["EndpointConfigName"]
    answers(stack)
    assert first["configs"] < stack.names()["configs"], "a rollback would need the old configuration"
    gone = stack.prune()
    assert gone.configs == (endpoint["EndpointConfigName"],)
    assert len(gone.models) == 1
    assert changed(stack.engine().up()) == {}, "pruning deletes nothing that the state declares"

    stack.engine().destroy()
    assert len(stack.prune().configs) == 1
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}
    assert [bucket["Name"] for bucket in stack.cloud.client("s3").list_buckets()["Buckets"]] == [BUCKET]
    assert stack.cloud.client("iam").list_roles()["Roles"] == []
    assert stack.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert stack.cloud.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    scaling = stack.cloud.client("application-autoscaling")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    if stack.hosting == "container":
        assert containers(stack) == []


def test_a_refused_declaration_is_one_line_and_makes_nothing(stack: Stack) -> None:
    stack.artifacts["champion"] = f"s3://{BUCKET}/models/champion/latest/model.tar.gz"
    stack.configure()
    with pytest.raises(EngineError) as caught:
        stack.engine().up()
    assert "models/champion/latest/model.tar.gz" in str(caught.value)
    assert "\n" not in str(caught.value).strip()
    assert stack.names() == {"endpoints": set(), "configs": set(), "models": set()}


def test_an_unknown_program_is_refused_with_those_there_are(stack: Stack) -> None:
    file = stack.root / "stacks" / "Pulumi.local.yaml"
    file.write_text(file.read_text().replace("program: demand", "program: supply"))
    with pytest.raises(EngineError, match="must be one of demand, nightly, watched, got 'supply'"):
        stack.engine().preview()


@pytest.mark.slow
def test_the_real_cli_makes_the_same_resources_as_the_embedded_engine(stack: Stack) -> None:
    path = cli_path()
    (stack.root / ".venv").symlink_to(Path(sys.prefix))
    cli = Project(stack.root, stack.cloud.info.url, path)
    stack.configure()
    cli.deploy("up")
    cli.pulumi("preview", "--expect-no-changes", "--non-interactive")
    real = {short(one["urn"]): one for one in cli.exported()}
    cli.deploy("destroy")
    assert len(stack.prune().models) == 2

    stack.engine().up()
    state = json.loads((stack.root / ".sagestage" / "stacks" / "sagestage" / "local.json").read_text())
    embedded = {short(one["urn"]): one for one in state["deployment"]["resources"]}
    assert embedded.keys() == real.keys()
    for name, one in real.items():
        for part in ("urn", "inputs", "parent", "protect", "retainOnDelete"):
            mine, theirs = (told(found.get(part), stack.cloud.info.url) for found in (embedded[name], one))
            assert mine == theirs, f"{name}: {part}"
        assert told(sorted(embedded[name].get("dependencies") or []), "-") == told(
            sorted(one.get("dependencies") or []), "-"
        )
