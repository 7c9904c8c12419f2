"""An image's CUDA and the machines' AMI: what would not start is refused when it is declared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra import SpecError, Variant, limits, plan
from infra.accelerators import CUDA_OF_AMI
from infra.endpoint_spec import EndpointSpec
from infra.model_spec import ModelSpec

NEWEST = "al2023-ami-sagemaker-inference-gpu-4-1"
ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = sorted((ROOT / "stacks").glob("[a-z]*.py"))
URI = f"s3://bucket/models/m/{'a' * 64}/model.tar.gz"


def variant(cuda: str | None, instance: str = "ml.g5.xlarge", **more: Any) -> Variant:
    model = SimpleNamespace(model_name="m", spec=ModelSpec("m", "repository/image:1", URI, environment={}, cuda=cuda))
    return Variant("main", model, instance=instance, **more)


def test_the_cuda_of_each_ami_is_what_botocore_documents() -> None:
    text = re.sub("<[^>]+>", " ", limits.shape("ProductionVariant")["members"]["InferenceAmiVersion"]["documentation"])
    documented: dict[str, str | None] = {}
    for line in re.split(r"(?=\bal2\S*-ami-sagemaker)", text)[1:]:
        cuda = re.search(r"CUDA version: (\S+)", line)
        documented[line.split()[0]] = cuda[1] if cuda else None
    assert documented == CUDA_OF_AMI
    assert set(CUDA_OF_AMI) == set(limits.shape("ProductionVariantInferenceAmiVersion")["enum"])


def test_an_ami_reaches_the_configuration() -> None:
    spec = EndpointSpec("e", "p-s-e", (variant("13.0", ami=NEWEST),))
    (rendered,) = plan.endpoint_config(spec, tags={})["production_variants"]
    assert rendered["inference_ami_version"] == NEWEST
    (rendered,) = plan.endpoint_config(EndpointSpec("e", "p-s-e", (variant("12.2"),)), tags={})["production_variants"]
    assert "inference_ami_version" not in rendered


@pytest.mark.parametrize(
    ("cuda", "options", "expected"),
    [
        ("13.0", {"ami": "al2-ami-sagemaker-inference-gpu-3-1"}, rf"CUDA 13\.0, newer than the CUDA 12\.4.*{NEWEST}"),
        ("13.0", {}, rf"newer than the CUDA 12\.2 that SageMaker's own choice may have.*use ami='{NEWEST}'"),
        ("12.4", {"ami": "al2-ami-sagemaker-inference-gpu-2"}, "use ami='al2-ami-sagemaker-inference-gpu-3-1'"),
        ("13.1", {"ami": NEWEST}, "build the image with an older CUDA"),
        (None, {"ami": "al2-ami-sagemaker-inference-gpu-9"}, "ami must be one that SageMaker has"),
        (None, {"ami": NEWEST, "instance": "ml.c6i.xlarge"}, "for machines with a GPU, which ml.c6i.xlarge"),
        (None, {"ami": "al2-ami-sagemaker-inference-neuron-2"}, "for machines with Neuron devices, which ml.g5.xlarge"),
        ("13", {}, "cuda must be a version such as '13.0', or 'none', got '13'"),
    ],
)
def test_what_would_not_start_is_refused(cuda: str | None, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        variant(cuda, **options)


@pytest.mark.parametrize(
    ("cuda", "options"),
    [
        ("13.0", {"ami": NEWEST}),
        ("12.2", {}),
        ("none", {}),
        (None, {}),
        ("13.0", {"instance": "ml.c6i.xlarge"}),
        (None, {"ami": "al2-ami-sagemaker-inference-neuron-2", "instance": "ml.inf2.xlarge"}),
    ],
)
def test_what_starts_is_accepted(cuda: str | None, options: dict[str, Any]) -> None:
    assert variant(cuda, **options).name == "main"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_cuda_that_a_push_writes_into_a_stacks_configuration_reaches_the_check(
    deploy: Callable[..., Any], path: Path
) -> None:
    """With the program's machines exchanged for ones with a GPU: the image is told apart by its CUDA alone."""
    program = re.sub(r'instance="[^"]+"', 'instance="ml.g5.xlarge"', path.read_text())
    texts = dict.fromkeys(("labels", "newest"), "s3://bucket/x/") | {"trainImage": "t:1", "target": "y"}

    def deployed(cuda: str) -> Any:
        return deploy(lambda: exec(compile(program, path.name, "exec"), {"__name__": "x"}), cuda=cuda, **texts)  # noqa: S102 - our own

    with pytest.raises(SpecError, match=rf"its image has CUDA 13\.0.*would not start on ml\.g5\.xlarge.*{NEWEST}"):
        deployed("13.0")
    assert deployed("none").registered
