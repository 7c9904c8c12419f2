from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sagestage.scaling_in import CONFIGURATION, ENDPOINT, ScaleInError, Shrink, endpoints, refuse, shrinks

PARENT = "urn:pulumi:dev::shop::sagestage:index:Endpoint$"


@dataclass
class Step:
    op: str
    type: str
    name: str = "demand"
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def urn(self) -> str:
        return f"{PARENT}{self.type}::{self.name}"


VARIANTS = [{"variantName": "a", "initialInstanceCount": 2}, {"variantName": "serverless"}]
NEW = Step("create-replacement", CONFIGURATION, inputs={"productionVariants": VARIANTS})
UPDATED = Step("update", ENDPOINT, inputs={"name": "shop-dev-demand"})


def test_only_endpoints_that_go_over_to_a_new_configuration_count() -> None:
    assert endpoints([NEW, UPDATED]) == {"shop-dev-demand": {"a": 2}}
    assert endpoints([UPDATED]) == {}
    assert endpoints([NEW, Step("create", ENDPOINT, inputs={"name": "x"})]) == {}
    assert endpoints([NEW, Step("update", ENDPOINT, name="other", inputs={"name": "x"})]) == {}


@pytest.mark.parametrize(("running", "found"), [(5, [Shrink("e", "a", 5, 2)]), (2, []), (1, [])])
def test_a_variant_that_runs_more_than_its_new_count_would_shrink(running: int, found: list[Shrink]) -> None:
    assert shrinks({"e": {"a": 2}}, {"e": {"a": running}}) == found
    assert shrinks({"e": {"a": 2}}, {}) == []


def test_scaling_in_is_refused_with_both_counts() -> None:
    refuse([])
    with pytest.raises(ScaleInError, match="e a: 5 instances run, the new configuration has 2; raise the count, or"):
        refuse([Shrink("e", "a", 5, 2)])
