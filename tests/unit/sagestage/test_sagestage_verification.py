from __future__ import annotations

from typing import Any

import pytest

from sagestage.verification import ENDPOINT, VerificationError, judge, refuse, verdicts


def described(status: str = "InService", runs: str = "new", reason: str | None = None) -> dict[str, Any]:
    return {"EndpointStatus": status, "EndpointConfigName": runs} | ({"FailureReason": reason} if reason else {})


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (described(), ""),
        (described(runs="old"), "rolled back: it runs old, not new: SageMaker gives no reason"),
        (described(runs="old", reason="alarm"), "rolled back: it runs old, not new: alarm"),
        (described("Failed", reason="no capacity"), "it is Failed: no capacity"),
        (described("Updating"), "it is Updating: SageMaker gives no reason"),
        (None, "it does not exist: run `refresh`, then `up`"),
    ],
)
def test_an_endpoint_is_well_only_in_service_with_its_own_configuration(
    found: dict[str, Any] | None, problem: str
) -> None:
    assert judge("demand", "new", found).problem == problem


def test_every_endpoint_of_a_state_is_judged_and_a_bad_one_is_an_error() -> None:
    outputs = {"endpointConfigName": "new"}
    resources = [
        {"type": ENDPOINT, "id": "good", "outputs": outputs},
        {"type": ENDPOINT, "id": "bad", "outputs": outputs},
        {"type": ENDPOINT, "id": "gone", "outputs": outputs, "delete": True},
        {"type": "aws:iam/role:Role", "id": "role"},
    ]
    found = verdicts(resources, lambda name: described(runs="new" if name == "good" else "old"))
    assert [(each.endpoint, bool(each.problem)) for each in found] == [("good", False), ("bad", True)]
    refuse(found[:1])
    with pytest.raises(VerificationError, match="not as deployed: bad: rolled back: it runs old, not new"):
        refuse(found)
