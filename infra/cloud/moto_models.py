"""What moto's SageMaker forgets of models, and says too much of them, put right from outside.

moto 5.2.5 drops EnableNetworkIsolation and InferenceExecutionConfig of a model, and describes one without a VPC with an
empty VpcConfig, which clients that know its members refuse.
"""

from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.models import Model
from moto.sagemaker.responses import SageMakerResponse

_create = SageMakerResponse.create_model
_described = Model.response_object


def install() -> None:
    """Make moto's models remember and tell what SageMaker does."""
    SageMakerResponse.create_model = _create_model  # type: ignore[method-assign,assignment]  # the purpose
    Model.response_object = property(_response)  # type: ignore[assignment,method-assign]  # likewise


def _create_model(response: SageMakerResponse) -> ActionResult:
    answer = _create(response)
    model = response.sagemaker_backend.describe_model(response._get_param("ModelName"))  # noqa: SLF001 - moto's own way
    model.enable_network_isolation = bool(response._get_param("EnableNetworkIsolation"))  # noqa: SLF001 - likewise
    execution = response._get_param("InferenceExecutionConfig")  # noqa: SLF001 - likewise
    model.inference_execution_config = execution  # type: ignore[attr-defined]  # described by its name
    return answer


def _response(model: Model) -> dict[str, Any]:
    told: dict[str, Any] = _described.fget(model)  # type: ignore[attr-defined]  # a property's getter
    return {name: value for name, value in told.items() if value not in ({}, [])}
