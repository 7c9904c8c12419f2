"""Updates in steps keep the names of the variants."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sagestage.renaming import RenamingError, refuse
from sagestage.scaling_in import CONFIGURATION, ENDPOINT

PARENT = "urn:pulumi:dev::shop::sagestage:index:Endpoint$"
CANARY = {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": {"type": "CANARY"}}}
ALL_AT_ONCE = {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": {"type": "ALL_AT_ONCE"}}}
ROLLING = {"rollingUpdatePolicy": {}}


def plan(deployment: dict[str, Any] | None, *variants: str) -> list[Any]:
    configuration = {"productionVariants": [{"variantName": name} for name in variants]}
    endpoint = {"name": "shop-dev-demand", "deploymentConfig": deployment}
    return [
        SimpleNamespace(
            op="create-replacement", type=CONFIGURATION, urn=f"{PARENT}{CONFIGURATION}::demand", inputs=configuration
        ),
        SimpleNamespace(op="update", type=ENDPOINT, urn=f"{PARENT}{ENDPOINT}::demand", inputs=endpoint),
    ]


@pytest.mark.parametrize("deployment", [CANARY, ROLLING])
@pytest.mark.parametrize("variants", [("champion-v2",), ("champion", "challenger")])
def test_an_update_in_steps_to_other_variants_is_refused_with_both_names(
    deployment: dict[str, Any], variants: tuple[str, ...]
) -> None:
    with pytest.raises(RenamingError) as caught:
        refuse(plan(deployment, *variants), {"shop-dev-demand": {"champion": 2}})
    said = str(caught.value)
    assert "shop-dev-demand runs champion, and the" in said
    assert f"goes to {', '.join(sorted(variants))}" in said
    assert "deploy=AllAtOnce()" in said


@pytest.mark.parametrize(
    ("steps", "live"),
    [
        (plan(CANARY, "champion"), {"shop-dev-demand": {"champion": 2}}),
        (plan(ALL_AT_ONCE, "new"), {"shop-dev-demand": {"champion": 2}}),
        (plan(None, "new"), {"shop-dev-demand": {"champion": 0}}),
        (plan(CANARY, "new"), {}),
    ],
)
def test_what_keeps_the_names_or_moves_all_at_once_passes(steps: list[Any], live: dict[str, dict[str, int]]) -> None:
    refuse(steps, live)
