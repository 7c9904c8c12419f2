from typing import Any

import pytest

from infra.provider.shapes import Issue, camel, decode, encode, find_member, input_shape, output_shape
from infra.provider.values import UNKNOWN, Plain


def encoded(operation: str, member: str, value: Plain, service: str = "sagemaker") -> tuple[Any, list[Issue]]:
    issues: list[Issue] = []
    return encode(input_shape(service, operation).members[member], value, "p", issues), issues


@pytest.mark.parametrize(
    ("member", "name"),
    [("SSEAlgorithm", "sseAlgorithm"), ("KMSMasterKeyID", "kmsMasterKeyId"), ("ID", "id"), ("S3Uri", "s3Uri"),
     ("VolumeSizeInGB", "volumeSizeInGb"), ("RoutingConfig", "routingConfig")],
)  # fmt: skip
def test_members_are_named_as_pulumi_names_them(member: str, name: str) -> None:
    assert camel(member) == name


def test_members_are_found_by_name_in_capitals_and_plural() -> None:
    variant = input_shape("sagemaker", "CreateEndpointConfig").members["ProductionVariants"].member
    assert find_member(variant, "enableSsmAccess") == "EnableSSMAccess"
    assert find_member(variant, "routingConfigs") == "RoutingConfig"
    assert find_member(variant, "colour") is None


def test_numbers_take_the_type_that_the_api_has() -> None:
    variant: Plain = [{"variantName": "a", "modelName": "m", "initialInstanceCount": 2.0, "initialVariantWeight": 90}]
    value, issues = encoded("CreateEndpointConfig", "ProductionVariants", variant)
    assert issues == []
    assert repr(value[0]["InitialInstanceCount"]) == "2"
    assert repr(value[0]["InitialVariantWeight"]) == "90.0"


def test_zero_and_false_are_values() -> None:
    value, _ = encoded("CreateEndpointConfig", "ProductionVariants", [{"variantName": "a", "initialVariantWeight": 0}])
    assert value[0]["InitialVariantWeight"] == 0.0


def test_a_list_of_one_is_the_single_structure_that_the_api_wants() -> None:
    value, issues = encoded(
        "CreateEndpointConfig",
        "ProductionVariants",
        [{"variantName": "a", "routingConfigs": [{"routingStrategy": "RANDOM"}]}],
    )
    assert (value[0]["RoutingConfig"], issues) == ({"RoutingStrategy": "RANDOM"}, [])


def test_a_map_is_the_pairs_that_the_api_wants() -> None:
    value, _ = encoded("PutMetricAlarm", "Dimensions", {"EndpointName": "e"}, "cloudwatch")
    assert value == [{"Name": "EndpointName", "Value": "e"}]


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([{"variantName": "a", "instanceTyp": "x"}], "p[0].instanceTyp", "is not a property of p[0]: it takes"),
        ([{"variantName": "a", "instanceType": "ml.huge"}], "p[0].instanceType", "got 'ml.huge'"),
        ([{"variantName": "a", "initialInstanceCount": "many"}], "p[0].initialInstanceCount", "number, got 'many'"),
        ([{"variantName": "a", "initialInstanceCount": 1.5}], "p[0].initialInstanceCount", "a whole number, got 1.5"),
        ([{"variantName": "a", "initialInstanceCount": 0}], "p[0].initialInstanceCount", "at least 1, got 0"),
        ([{"variantName": "a", "enableSsmAccess": 1}], "p[0].enableSsmAccess", "true or false, got 1"),
        ([{"modelName": "m"}], "p[0].variantName", "is required and missing"),
        ("champion", "p", "must be a list, got 'champion'"),
        (["champion"], "p[0]", "must be an object, got 'champion'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place_and_value(value: Plain, path: str, reason: str) -> None:
    _, issues = encoded("CreateEndpointConfig", "ProductionVariants", value)
    assert [issue.path for issue in issues] == [path]
    assert reason in issues[0].reason


def test_unknown_parts_pass() -> None:
    value, issues = encoded("CreateEndpointConfig", "ProductionVariants", [{"variantName": "a", "modelName": UNKNOWN}])
    assert (value[0]["ModelName"], issues) == (UNKNOWN, [])


def test_what_aws_adds_to_a_structure_is_no_drift_and_map_entries_are() -> None:
    shape = output_shape("sagemaker", "DescribeModel").members["PrimaryContainer"]
    answer = {"Image": "a:1", "Mode": "SingleModel", "Environment": {"A": "b", "ADDED": "x"}}
    assert decode(shape, answer, {"image": "a:1", "environment": {"A": "b"}}) == {
        "image": "a:1",
        "environment": {"A": "b", "ADDED": "x"},
    }
    assert decode(shape, answer) == {"image": "a:1", "mode": "SingleModel", "environment": {"A": "b", "ADDED": "x"}}


def test_pairs_come_back_as_the_form_that_the_state_has() -> None:
    shape = output_shape("cloudwatch", "DescribeAlarms").members["MetricAlarms"].member.members["Dimensions"]
    pairs = [{"Name": "EndpointName", "Value": "e"}]
    assert decode(shape, pairs, {}) == {"EndpointName": "e"}
    assert decode(shape, pairs, []) == [{"name": "EndpointName", "value": "e"}]
