import json
from typing import Any

import pytest

from infra.provider.errors import ProviderError
from infra.provider.policy_document import policy_document
from infra.provider.values import Properties


def document(**args: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(str(policy_document(args)["json"]))
    return parsed


def test_one_value_stands_alone_and_several_are_sorted_downwards() -> None:
    found = document(statements=[{"actions": ["s3:GetObject", "s3:PutObject"], "resources": ["*"]}])
    assert found == {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "*"}],
    }


def test_principals_are_grouped_by_type_and_everybody_is_a_star() -> None:
    entries = [{"type": "Service", "identifiers": ["a"]}, {"type": "Service", "identifiers": ["b"]}]
    assert document(statements=[{"principals": entries}])["Statement"][0]["Principal"] == {"Service": ["b", "a"]}
    star: Properties = {"type": "*", "identifiers": ["*"]}
    assert document(statements=[{"principals": [star]}])["Statement"][0]["Principal"] == "*"


def test_conditions_are_grouped_by_test() -> None:
    conditions = [
        {"test": "StringEquals", "variable": "a", "values": ["1"]},
        {"test": "StringEquals", "variable": "b", "values": ["1", "2"]},
    ]
    assert document(statements=[{"conditions": conditions}])["Statement"][0]["Condition"] == {
        "StringEquals": {"a": "1", "b": ["1", "2"]}
    }


def test_sources_come_first_and_overrides_replace_by_sid() -> None:
    source = json.dumps({"Statement": [{"Sid": "a", "Effect": "Deny"}]})
    found = document(
        sourcePolicyDocuments=[source],
        statements=[{"sid": "b"}],
        overridePolicyDocuments=[json.dumps({"Statement": {"Sid": "a", "Effect": "Allow"}})],
    )
    assert [(each["Sid"], each["Effect"]) for each in found["Statement"]] == [("a", "Allow"), ("b", "Allow")]


def test_a_sid_twice_in_the_sources_is_refused() -> None:
    source = json.dumps({"Statement": [{"Sid": "a"}]})
    with pytest.raises(ProviderError, match="'a'"):
        policy_document({"sourcePolicyDocuments": [source, source]})


def test_a_source_that_is_no_document_is_named() -> None:
    with pytest.raises(ProviderError, match="not a policy document: 'nonsense'"):
        policy_document({"sourcePolicyDocuments": ["nonsense"]})


def test_the_same_arguments_have_the_same_id() -> None:
    args: Properties = {"statements": [{"actions": ["*"]}]}
    assert policy_document(args)["id"] == policy_document(args)["id"]
    assert json.loads(str(policy_document(args)["minifiedJson"])) == json.loads(str(policy_document(args)["json"]))
