"""Plans that would take an endpoint away, and states that say what must stay."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from sagestage.errors import SagestageError
from sagestage.prune import declared
from sagestage.replacement import ENDPOINT, ReplacementError, refuse


def step(op: str, *paths: str, kind: str = ENDPOINT) -> Any:
    diff = tuple(SimpleNamespace(path=path, kind="update-replace") for path in paths)
    return SimpleNamespace(type=kind, op=op, name="demand", diff=diff, replace_keys=())


def test_a_replaced_endpoint_is_refused_with_the_properties_that_force_it() -> None:
    with pytest.raises(ReplacementError) as caught:
        refuse([step("create-replacement", "name"), step("replace", "deploymentConfig.autoRollbackConfiguration")])
    assert "demand: deploymentConfig.autoRollbackConfiguration, name" in str(caught.value)
    assert "--allow-endpoint-replacement" in str(caught.value)
    assert caught.value.exit_code == 4


def test_other_changes_pass() -> None:
    refuse([step("update"), step("create"), step("replace", "name", kind="aws:sagemaker/model:Model")])


def test_a_state_names_the_configurations_and_models_that_stay() -> None:
    resources = [
        {"type": "aws:sagemaker/model:Model", "id": "m-1"},
        {"type": "aws:sagemaker/endpointConfiguration:EndpointConfiguration", "id": "c-1"},
        {"type": ENDPOINT, "id": "e"},
    ]
    assert declared(json.dumps({"deployment": {"resources": resources}}).encode()) == {"m-1", "c-1"}
    assert declared(b'{"deployment": null}') == set()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"deployment": {"resources": [{}]}}'])
def test_what_is_no_state_is_refused_since_everything_would_go(content: bytes) -> None:
    with pytest.raises(SagestageError, match="pulumi stack export"):
        declared(content)
