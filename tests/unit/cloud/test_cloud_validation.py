from typing import Any

import pytest

from infra.cloud.errors import AwsError
from infra.cloud.validation import service_model, validate

VARIANT = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.c6i.xlarge", "InitialInstanceCount": 1}
HOSTING = (
    "CreateEndpointConfig",
    "CreateEndpoint",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
    "AddTags",
    "DeleteTags",
)


def config(**changes: Any) -> dict[str, Any]:
    return {"EndpointConfigName": "c", "ProductionVariants": [VARIANT | changes]}


def message(params: Any, operation: str = "CreateEndpointConfig") -> str:
    with pytest.raises(AwsError) as caught:
        validate(operation, params)
    return f"{caught.value.code}: {caught.value.message}"


def test_good_input_passes() -> None:
    validate("CreateEndpointConfig", config(InitialVariantWeight=0))
    validate("CreateEndpointConfig", config(InitialVariantWeight=0.5, VolumeSizeInGB=None))
    validate("ListEndpoints", {"CreationTimeAfter": 1.7e9, "MaxResults": 100})
    validate(
        "AddTags",
        {"ResourceArn": f"arn:aws:sagemaker:r:{'1' * 12}:endpoint/e", "Tags": [{"Key": "Größe", "Value": "a b"}]},
    )


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "2 validation errors detected: Value 'null' at 'endpointConfigName' failed to satisfy constraint: Member"),
        (config(VariantName="-a"), "Value '-a' at 'productionVariants.1.member.variantName' failed to satisfy"),
        (config(InitialVariantWeight=-1), "Member must have value greater than or equal to 0"),
        (config(InitialInstanceCount=0), "Member must have value greater than or equal to 1"),
        (config(InstanceType="ml.none"), "Member must satisfy enum value set: [ml.t2.medium, "),
        ({"EndpointConfigName": "c", "ProductionVariants": []}, "length greater than or equal to 1"),
        ({"EndpointConfigName": "c", "ProductionVariants": [VARIANT] * 11}, "length less than or equal to 10"),
        ({"EndpointConfigName": "c" * 64, "ProductionVariants": [VARIANT]}, "Member must have length less than"),
    ],
)
def test_each_constraint_is_worded_as_the_service_words_it(params: Any, said: str) -> None:
    assert "ValidationException: " in message(params)
    assert said in message(params)


@pytest.mark.parametrize(
    "params",
    [[], "x", {"EndpointConfigName": 3}, config(InitialInstanceCount="two"), config(InitialInstanceCount=True)],
    ids=str,
)
def test_wrong_types_do_not_deserialize(params: Any) -> None:
    assert message(params).startswith("SerializationException: ")


@pytest.mark.parametrize("operation", HOSTING)
def test_every_pattern_of_the_service_model_can_be_read(operation: str) -> None:
    seen: set[str] = set()

    def sample(shape: Any) -> Any:
        """A value of every member, whose strings reach every pattern."""
        if shape.name in seen:  # a recursive shape, or one that was reached already
            return None
        seen.add(shape.name)
        match shape.type_name:
            case "structure":
                return {name: sample(inner) for name, inner in shape.members.items()}
            case "list":
                inner = sample(shape.member)
                return [] if inner is None else [inner]
            case "map":
                return {"k": sample(shape.value) or ""}
            case kind:
                return {"string": "\n", "boolean": True}.get(kind, -7)

    with pytest.raises(AwsError, match="detected: "):
        validate(operation, sample(service_model().operation_model(operation).input_shape))
