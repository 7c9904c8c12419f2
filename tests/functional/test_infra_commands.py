"""What the command line adds to a deployment: no endpoint is replaced unasked, and what nothing runs can be pruned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.names import LOCAL
from sagestage import prune
from sagestage.deploy import Deployment
from sagestage.errors import SagestageError
from sagestage.project import Project
from sagestage.renaming import RenamingError
from sagestage.replacement import ReplacementError
from tests.cloud_support.helpers import running
from tests.functional_support.stacks import Stack

ENDPOINT = "sagestage-local-demand"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    root = tmp_path / "project"
    (root / ".sagestage").mkdir(parents=True)
    with running(root / ".sagestage" / "cloud", time_scale=600) as cloud:
        yield Stack(root, cloud)


@pytest.mark.slow
def test_an_endpoint_is_replaced_only_when_that_is_allowed_and_what_is_left_can_be_pruned(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(stack.root)
    Deployment(project, LOCAL).up()
    program = stack.root / "stacks" / "demand.py"
    declared = program.read_text()
    program.write_text(declared.replace('Variant("challenger"', 'Variant("v2"'))
    with pytest.raises(RenamingError, match=r"runs challenger, champion, and the canary update goes to champion, v2"):
        Deployment(project, LOCAL).preview()
    program.write_text(declared)
    program.write_text(
        program.read_text().replace("    notify=[alerts],", '    notify=[alerts],\n    physical_name="other",')
    )
    for attempt in (Deployment(project, LOCAL).preview, Deployment(project, LOCAL).up):
        with pytest.raises(ReplacementError, match="demand: name"):
            attempt()
    assert stack.names()["endpoints"] == {ENDPOINT}
    Deployment(project, LOCAL, replace_endpoints=True).up()
    assert stack.names()["endpoints"] == {"other"}

    client = stack.sagemaker()
    variants = client.describe_endpoint_config(
        EndpointConfigName=client.describe_endpoint(EndpointName="other")["EndpointConfigName"]
    )["ProductionVariants"]
    tags = [{"Key": "sagestage:project", "Value": "sagestage"}, {"Key": "sagestage:stack", "Value": LOCAL}]
    client.create_endpoint_config(EndpointConfigName="left-over", ProductionVariants=variants, Tags=tags)
    capsys.readouterr()
    for yes in (False, True):
        prune.run(project, LOCAL, state=None, yes=yes, as_json=True)
        told = json.loads(capsys.readouterr().out)
        assert told == {"deleted": yes, "configs": ["left-over"], "models": []}
    assert "left-over" not in stack.names()["configs"]


def test_a_stack_on_aws_is_not_pruned_without_its_state(stack: Stack) -> None:
    with pytest.raises(SagestageError, match="pulumi stack export --stack prod"):
        prune.run(Project(stack.root), "prod", state=None, yes=True, as_json=True)
