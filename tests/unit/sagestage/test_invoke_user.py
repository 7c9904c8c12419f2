"""`sagestage invoke --user`: the user's variant, by the endpoint's weights."""

from __future__ import annotations

from typing import Any

import pytest

from inference import router
from sagestage.commands import Target
from sagestage.errors import SagestageError


class SageMaker:
    """Describes an endpoint of two variants."""

    def describe_endpoint(self, **request: Any) -> dict[str, Any]:
        assert request == {"EndpointName": "shop-demand"}
        weights = {"champion": 90.0, "challenger": 10.0}
        return {"ProductionVariants": [{"VariantName": name, "CurrentWeight": one} for name, one in weights.items()]}


def chosen(target: Target) -> str | None:
    return target.choose(SageMaker(), "shop-demand")  # type: ignore[arg-type]  # a stand-in for boto3's client


def test_a_user_gets_what_the_router_says() -> None:
    weights = {"champion": 90.0, "challenger": 10.0}
    for user in ("user-1", "user-6", "Žofie"):
        assert chosen(Target(user=user, salt="spring")) == router.choose(user, weights, salt="spring")
        assert chosen(Target(user=user)) == router.choose(user, weights, salt="shop-demand")


def test_without_a_user_the_variant_is_passed_on() -> None:
    assert chosen(Target(variant="champion")) == "champion"
    assert chosen(Target()) is None


def test_a_user_and_a_variant_exclude_each_other() -> None:
    with pytest.raises(SagestageError, match="exclude each other"):
        chosen(Target(variant="champion", user="user-1"))
