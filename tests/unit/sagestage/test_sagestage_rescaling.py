from __future__ import annotations

from typing import Any

import pytest

from sagestage.errors import SagestageError
from sagestage.rescaling import CONFIGURATION, TARGET, Rescaled, refuse_targets, rescaled, urns_of
from sagestage.scaling_in import ENDPOINT
from tests.unit.sagestage.test_sagestage_scaling_in import PARENT, Step

PLACE = "endpoint/shop-dev-demand/variant"


def configuration(**types: str) -> dict[str, Any]:
    return {"productionVariants": [{"variantName": name, "instanceType": type_} for name, type_ in types.items()]}


def resource(type_: str, name: str, **more: Any) -> dict[str, Any]:
    return {"urn": f"{PARENT}{type_}::{name}", "type": type_, **more}


STATE = [
    resource(CONFIGURATION, "demand", inputs=configuration(a="small", b="small")),
    resource(CONFIGURATION, "demand", inputs=configuration(a="tiny", b="tiny"), delete=True),
    resource(TARGET, "a", inputs={"resourceId": f"{PLACE}/a"}),
    resource("x:y:Policy", "a", propertyDependencies={"resourceId": [f"{PARENT}{TARGET}::a"], "name": None}),
    resource("x:y:Alarm", "a", dependencies=[f"{PARENT}x:y:Policy::a"]),
    resource(TARGET, "b", inputs={"resourceId": f"{PLACE}/b"}),
    resource("x:y:Other", "o", dependencies=[]),
]
UPDATED = Step("update", ENDPOINT, inputs={"name": "shop-dev-demand"})


def plan(**types: str) -> list[Step]:
    return [Step("create-replacement", CONFIGURATION, inputs=configuration(**types)), UPDATED]


def test_what_scales_a_variant_of_another_type_goes_with_all_that_needs_it() -> None:
    (found,) = rescaled(plan(a="large", b="small"), STATE)
    assert (found.variant, found.old, found.new) == ("a", "small", "large")
    assert [urn.rpartition("$")[2] for urn in found.urns] == [f"{TARGET}::a", "x:y:Policy::a", "x:y:Alarm::a"]
    assert str(found).endswith("shop-dev-demand a goes from small to large: its scaling is deleted before the update, "
                               "and made again after it")  # fmt: skip


def test_a_variant_that_goes_is_no_longer_scaled_either() -> None:
    (found,) = rescaled(plan(a="small"), STATE)
    assert (found.variant, found.new, urns_of([found, found])) == ("b", None, found.urns)
    assert "made again" not in str(found)


def test_nothing_is_taken_away_without_need() -> None:
    assert rescaled(plan(a="small", b="small", c="large"), STATE) == []
    assert rescaled(plan(a="large", b="large"), STATE[:2]) == []
    assert rescaled([UPDATED], STATE) == []
    assert rescaled(plan(a="large"), []) == []


def test_it_cannot_be_done_to_some_resources_alone() -> None:
    found = [Rescaled("e", "a", "small", "large", ("urn",))]
    refuse_targets(found, [])
    refuse_targets([], ["urn"])
    with pytest.raises(SagestageError, match="--target cannot do that"):
        refuse_targets(found, ["urn"])
