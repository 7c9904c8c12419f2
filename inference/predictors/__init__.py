"""What computes a network's raw outputs: one protocol, several ways to do it.

`choose` picks by the settings. Importing this package imports no engine: an engine is imported when it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from inference.contract.artifact import Artifact
from inference.contract.network import NetworkSpec, Single
from inference.contract.schema import Floats
from inference.errors import StartError

Kind = Literal["auto", "numpy", "onnx", "torch", "compile"]
Device = Literal["auto", "cpu", "cuda"]
Autocast = Literal["none", "bf16", "fp16"]

INLINE_FLOPS = 10_000_000
"""What takes well under a millisecond on one core: such a batch is computed on the event loop itself, since handing
it to a thread and back costs more than it saves."""


class Predictor(Protocol):
    """Maps features, float32 of shape (rows, inputs), to raw outputs, float64 of shape (rows, outputs).

    Attributes:
        name: what computes, for logs: `numpy`, `torch cpu`, …
        inline_rows: the largest batch that may be computed on the event loop; larger ones go to a thread.
        lanes: how many batches may be computed at a time, each on a thread of its own: 2 on a GPU, so that one is
            copied while another is computed.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # see the class

    @property
    def inline_rows(self) -> int: ...  # noqa: D102  # see the class

    @property
    def lanes(self) -> int: ...  # noqa: D102  # see the class

    def __call__(self, features: Single) -> Floats: ...  # noqa: D102  # see the class


def inline_rows(spec: NetworkSpec) -> int:
    """How many rows of this network are computed in well under a millisecond by one core."""
    weights = sum(shape[0] * shape[1] for shape in spec.shapes.values() if len(shape) == 2)
    return max(1, INLINE_FLOPS // (2 * weights))


def choose(
    spec: NetworkSpec,
    weights: Mapping[str, Single],
    *,
    kind: Kind = "auto",
    device: Device = "auto",
    autocast: Autocast = "none",
    threads: int = 1,
) -> Predictor:
    """The predictor that the settings ask for; `auto` takes torch where there is a GPU and numpy elsewhere.

    Raises:
        StartError: torch or ONNX Runtime is asked for and not installed, CUDA is asked for and not there, or autocast
            without torch.
    """
    wants_gpu = device == "cuda" or (device == "auto" and gpu_present())
    if kind in ("torch", "compile") or (kind == "auto" and (wants_gpu or autocast != "none")):
        try:
            from inference.predictors import torch  # noqa: PLC0415  # takes 2 s: only where it is used
        except ImportError:
            if kind in ("torch", "compile") or device == "cuda" or autocast != "none":
                text = f"predictor {kind!r} needs torch: install sagestage[torch], or take numpy"
                raise StartError(text) from None
        else:
            return torch.load(
                spec, weights, device=device, autocast=autocast, threads=threads, compiled=kind == "compile"
            )
    if device == "cuda" or autocast != "none":
        raise StartError("predictors 'numpy' and 'onnx' compute in float64 on CPUs: take torch for a GPU or autocast")
    if kind == "onnx":
        try:
            from inference.predictors.onnx import OnnxPredictor  # noqa: PLC0415  # like the others
        except ImportError:
            raise StartError("predictor 'onnx' needs onnxruntime: install sagestage[onnx], or take numpy") from None
        return OnnxPredictor(spec, weights, threads)
    from inference.predictors.numpy import NumpyPredictor  # noqa: PLC0415  # like the others: only where it is used

    return NumpyPredictor(spec, weights)


def exported(
    artifact: Artifact, *, device: Device = "auto", autocast: Autocast = "none", threads: int = 1
) -> Predictor:
    """The predictor of a model that torch.export made; it needs torch.

    Raises:
        StartError: torch is not installed, or CUDA is asked for and not there.
        ArtifactError: torch cannot read the program, it holds NaN or infinity, or takes or gives another number of
            columns than the manifest says, or only one number of rows.
    """
    try:
        from inference.predictors import torch  # noqa: PLC0415  # takes 2 s: only where it is used
    except ImportError:
        raise StartError("this model is a graph of torch.export: install sagestage[torch]") from None
    return torch.exported(artifact, device=device, autocast=autocast, threads=threads)


def gpu_present(devices: Path = Path("/dev")) -> bool:
    """Whether the machine shows an NVIDIA GPU; asks the file system, since asking torch takes 2 s."""
    return any(devices.glob("nvidia[0-9]*"))
