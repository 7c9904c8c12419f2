"""SageMaker's inference AMIs, and what an image with CUDA needs of them.

A container brings its own CUDA libraries, the machine's AMI the driver below them: libraries that are newer than what
the driver was made for do not start, and SageMaker only says that /ping did not answer.
"""

import re
from collections.abc import Iterator
from typing import Any

from infra import metrics

SOURCE = "SageMaker API, ProductionVariant.InferenceAmiVersion"
# The CUDA version that each AMI's driver carries; None: it is for Neuron devices.
CUDA_OF_AMI: dict[str, str | None] = {
    "al2-ami-sagemaker-inference-gpu-2": "12.2",
    "al2-ami-sagemaker-inference-gpu-2-1": "12.2",
    "al2-ami-sagemaker-inference-gpu-3-1": "12.4",
    "al2-ami-sagemaker-inference-neuron-2": None,
    "al2023-ami-sagemaker-inference-gpu-4-1": "13.0",
}
_NEURON = ("ml.inf", "ml.trn")
_VERSION = re.compile(r"\d{1,2}\.\d{1,2}")


def cuda_problems(cuda: Any) -> Iterator[str]:
    """What is wrong with the CUDA version of an image; None and "none" are images without."""
    if cuda is not None and (not isinstance(cuda, str) or (cuda != "none" and not _VERSION.fullmatch(cuda))):
        yield f"cuda must be a version such as '13.0', or 'none', got {cuda!r}: `sagestage images build` tells it"


def ami_problems(instance: str | None, ami: str | None, cuda: str | None) -> Iterator[str]:
    """Why an image could not run on a machine with this AMI.

    Args:
        instance: an instance type; None for a serverless variant.
        ami: an inference AMI version; None leaves the choice to SageMaker.
        cuda: the CUDA version of the image's libraries; None where it is not known, "none" where it has none.
    """
    if instance is None:
        if ami is not None:
            yield f"ami is of no use to a serverless variant, got {ami!r}"
        return
    if ami is not None:
        yield from _misplaced(instance, ami)
    if cuda in (None, "none") or metrics.gpus(instance) == 0:
        return
    have = _oldest() if ami is None else CUDA_OF_AMI.get(ami)
    if have is None or _number(have) >= _number(str(cuda)):
        return
    fitting = [name for name, known in CUDA_OF_AMI.items() if known and _number(known) >= _number(str(cuda))]
    remedy = f"use ami={fitting[0]!r}" if fitting else "build the image with an older CUDA"
    given = f"the CUDA {have} of {ami}" if ami else f"the CUDA {have} that SageMaker's own choice may have"
    yield f"its image has CUDA {cuda}, newer than {given}, and would not start on {instance}: {remedy} ({SOURCE})"


def _misplaced(instance: str, ami: str) -> Iterator[str]:
    neuron = instance.startswith(_NEURON)
    if (CUDA_OF_AMI.get(ami) is None) != neuron or (metrics.gpus(instance) == 0 and not neuron):
        kind = "a GPU" if CUDA_OF_AMI.get(ami) else "Neuron devices"
        yield f"ami {ami!r} is for machines with {kind}, which {instance} does not have: leave it out ({SOURCE})"


def _oldest() -> str:
    return min((cuda for cuda in CUDA_OF_AMI.values() if cuda), key=_number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
