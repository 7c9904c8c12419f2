"""The stacks for AWS by the real CLI against the embedded cloud: `sagestage pulumi --on embedded -- … --stack S`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sagestage.pulumi_cli import run
from tests.cloud_support.helpers import running
from tests.functional.test_infra_aws_stacks import artifacts
from tests.functional_support.stacks import Stack
from tests.provider_support.real_cli import cli_path

pytestmark = pytest.mark.slow


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("PATH", cli_path())
    for name in [each for each in os.environ if each.startswith(("AWS_", "PULUMI_"))]:
        monkeypatch.delenv(name)
    root = tmp_path / "project"
    (root / ".sagestage").mkdir(parents=True)
    with running(root / ".sagestage" / "cloud", max_instances=1, time_scale=600) as cloud:
        yield Stack(root, cloud, region="eu-central-1")


@pytest.mark.parametrize("name", ["nightly", "staging", "prod"])
def test_a_stack_for_aws_lives_by_the_real_cli_on_the_embedded_cloud(
    stack: Stack, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def pulumi(*words: str) -> str:
        capfd.readouterr()
        code = run(stack.root, [*words, "--stack", name, "--non-interactive"], embedded=True)
        told = capfd.readouterr()
        assert code == 0, told
        return told.out

    artifacts(stack, name)
    file = stack.root / "stacks" / f"Pulumi.{name}.yaml"
    content = yaml.safe_load(file.read_text())
    content["config"]["aws:defaultTags"] = {"tags": {"team": "ml"}}
    file.write_text(json.dumps(content))
    before = file.read_bytes()

    pulumi("up", "--yes", "--skip-preview")
    assert all(each.startswith(f"sagestage-{name}-") for each in stack.names()["endpoints"])
    assert stack.names()["endpoints"]
    pulumi("preview", "--expect-no-changes")
    pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    pulumi("state", "unprotect", "--all", "--yes")
    pulumi("destroy", "--yes", "--skip-preview")
    assert stack.names()["endpoints"] == set()  # configurations and models outlive them: `sagestage prune`
    assert stack.client("iam").list_roles()["Roles"] == []
    assert file.read_bytes() == before
