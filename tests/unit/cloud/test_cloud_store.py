import pytest

from infra.cloud.errors import AwsError
from infra.cloud.records import Config, Endpoint, float32
from infra.cloud.store import Store


@pytest.mark.parametrize(("given", "read"), [(0.9, 0.8999999761581421), (90, 90.0), (0, 0.0), (0.5, 0.5)])
def test_weights_are_kept_in_single_precision(given: float, read: float) -> None:
    assert float32(given) == read


def test_tags_are_found_by_arn() -> None:
    store = Store()
    store.endpoints["r", "My-Endpoint"] = endpoint = Endpoint("My-Endpoint", "r", "c", {"a": "1"})
    store.configs["r", "c"] = config = Config("c", "r", {}, {"b": "2"})
    assert endpoint.arn == "arn:aws:sagemaker:r:123456789012:endpoint/my-endpoint"
    assert store.tagged("r", endpoint.arn) is endpoint.tags
    assert store.tagged("r", config.arn) is config.tags
    assert store.tagged("r", "arn:aws:sagemaker:r:123456789012:model/m") is None
    with pytest.raises(AwsError, match="Could not find endpoint"):
        store.tagged("elsewhere", endpoint.arn)


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "Deleting"])
def test_an_endpoint_in_progress_is_left_alone(status: str) -> None:
    store = Store()
    store.endpoints["r", "e"] = Endpoint("e", "r", "c", {}, status=status)
    with pytest.raises(AwsError, match='Cannot update in-progress endpoint "arn:'):
        store.settled("r", "e")
