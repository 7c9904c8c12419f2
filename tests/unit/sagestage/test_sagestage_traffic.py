"""What a rehearsal claims of its traffic must be able to fail: an endpoint that does wrong is told of."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from botocore.exceptions import ClientError

from inference.contract.artifact import Tolerance
from sagestage.errors import SagestageError
from sagestage.traffic import TARGETED, Expected, Traffic, send

ROWS = 40
EXPECTED = {
    name: Expected(version=f"{name[:6]:0<12}", predictions=np.arange(ROWS) * factor, tolerance=Tolerance())
    for name, factor in {"champion": 1.5, "challenger": 2.5}.items()
}
WEIGHTS = {"champion": 90.0, "challenger": 10.0}


class Runtime:
    """An endpoint in memory, in place of boto3's client; `twist` changes an answer before it is given."""

    def __init__(self, twist: Callable[[str, dict[str, Any]], str] = lambda variant, _body: variant) -> None:
        self._random = np.random.default_rng(7)
        self._twist = twist

    def invoke_endpoint(self, *, Body: bytes, TargetVariant: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's
        row = orjson.loads(Body)["instances"][0]
        variant = TargetVariant or ("champion" if self._random.random() < 0.9 else "challenger")
        body = {"predictions": [float(EXPECTED[variant].predictions[row])], "model_version": EXPECTED[variant].version}
        variant = self._twist(variant, body)
        return {"Body": io.BytesIO(orjson.dumps(body)), "InvokedProductionVariant": variant}


def run(runtime: Any, requests: int = 300) -> Traffic:
    return send(runtime, "demand", list(range(ROWS)), EXPECTED, WEIGHTS, requests=requests)


def test_an_endpoint_that_does_right_has_no_problems() -> None:
    traffic = run(Runtime())
    assert traffic.problems == ()
    assert sum(one.requests for one in traffic.variants.values()) == 300
    assert len(traffic.answers) == 300 + 2 * TARGETED
    assert traffic.variants["champion"].latency(50) > 0


def test_another_prediction_is_told_with_its_row() -> None:
    def off(variant: str, body: dict[str, Any]) -> str:
        if variant == "challenger":
            body["predictions"][0] += 0.01
        return variant

    (problem,) = run(Runtime(off)).problems
    assert problem.startswith("challenger: ")
    assert "predictions differ" in problem


def test_another_model_is_told_with_both_versions() -> None:
    def old(variant: str, body: dict[str, Any]) -> str:
        body["model_version"] = "0123456789ab"
        return variant

    problems = run(Runtime(old)).problems
    assert any("0123456789ab" in problem and EXPECTED["champion"].version in problem for problem in problems)


def test_a_share_beyond_chance_is_told_with_its_interval() -> None:
    class Unfair(Runtime):
        def invoke_endpoint(self, *, TargetVariant: str | None = None, **other: Any) -> dict[str, Any]:  # noqa: N803  # boto3's
            return super().invoke_endpoint(TargetVariant=TargetVariant or "champion", **other)

    problems = run(Unfair()).problems
    assert any(problem.startswith("challenger answered 0 of 300; its weight allows") for problem in problems)


def test_an_ignored_target_variant_is_told() -> None:
    class Deaf(Runtime):
        def invoke_endpoint(self, *, TargetVariant: str | None = None, **other: Any) -> dict[str, Any]:  # noqa: N803  # boto3's
            del TargetVariant
            return super().invoke_endpoint(**other)

    assert any(
        problem.startswith("TargetVariant=challenger was answered by champion") for problem in run(Deaf()).problems
    )


def test_a_refusal_ends_the_traffic_in_one_line() -> None:
    class Broken(Runtime):
        def invoke_endpoint(self, **_: Any) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "ModelError", "Message": "no"}}, "InvokeEndpoint")

    with pytest.raises(SagestageError, match="endpoint demand did not answer row"):
        run(Broken())
