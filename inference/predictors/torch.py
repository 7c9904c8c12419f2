"""The only place that builds a torch module from a NetworkSpec; training builds and serving loads with it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from inference.contract.artifact import Artifact
from inference.contract.errors import ArtifactError
from inference.contract.network import Activation, NetworkSpec, Single
from inference.contract.schema import Floats
from inference.errors import StartError
from inference.predictors import Autocast, Device, inline_rows

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    Activation.RELU: nn.ReLU,
    Activation.TANH: nn.Tanh,
    Activation.SILU: nn.SiLU,
}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Perceptron(nn.Module):
    """The network of a NetworkSpec; the names of its state_dict are those of `NetworkSpec.shapes`."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(shape[1], shape[0]) for shape in spec.shapes.values() if len(shape) == 2)
        self.activation = _ACTIVATIONS[spec.activation]()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Raw outputs of shape (rows, outputs)."""
        *hidden, last = self.layers
        values = features
        for layer in hidden:
            values = self.activation(layer(values))
        outputs: torch.Tensor = last(values)
        return outputs


def build(spec: NetworkSpec) -> Perceptron:
    """A module with fresh weights, drawn from torch's global generator."""
    return Perceptron(spec)


class Lane(threading.local):
    """What each thread that computes on a GPU has of its own: a stream, and memory that the GPU copies from and to.

    Batches of two threads are on two streams: while one is computed, the other is copied.
    """

    stream: torch.cuda.Stream | None = None
    sent: torch.Tensor | None = None
    landed: torch.Tensor | None = None

    def on(self, device: torch.device) -> torch.cuda.Stream:
        """The thread's stream."""
        if self.stream is None:
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self.stream

    def send(self, batch: torch.Tensor) -> torch.Tensor:
        """A copy of the batch in pinned memory, which is kept for the next one: pinning takes longer than copying."""
        self.sent = _room(self.sent, batch)
        return _part(self.sent, batch).copy_(batch)

    def land(self, outputs: torch.Tensor) -> torch.Tensor:
        """Pinned memory for the outputs, and their copy into it begun; it is there when the stream is through."""
        self.landed = _room(self.landed, outputs)
        return _part(self.landed, outputs).copy_(outputs, non_blocking=True)


def _room(kept: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    if kept is not None and kept.numel() >= like.numel() and kept.dtype == like.dtype:
        return kept
    return torch.empty(like.numel(), dtype=like.dtype, pin_memory=True)


def _part(kept: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return kept[: like.numel()].view(like.shape)


class TorchPredictor:
    """A module in inference mode on one device, computing in `dtype`, or in a smaller type where autocast says so."""

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        autocast: Autocast,
        *,
        dtype: torch.dtype = torch.float32,
        inline_rows: int = 0,
    ) -> None:
        self.name = f"torch {device}" + ("" if autocast == "none" else f" {autocast}")
        self.inline_rows = inline_rows if device.type == "cpu" else 0
        self.lanes = 2 if device.type == "cuda" else 1
        self._type = dtype
        self._module: Callable[[torch.Tensor], torch.Tensor] = module
        self._device = device
        self._dtype = _DTYPES.get(autocast)
        self._lane = Lane()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights have arrived before another stream reads them

    def compile(self) -> None:
        """Compile the module; its kernels are built at the next call."""
        self.name = f"compiled {self.name}"
        self._module = torch.compile(self._module, dynamic=True)

    def __call__(self, features: Single) -> Floats:
        """Raw outputs, float64 of shape (rows, outputs), back in this machine's memory."""
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None),
        ):
            batch = torch.from_numpy(features).to(self._type)
            if self._device.type == "cuda":
                return self._on_gpu(batch)
            outputs: Floats = self._module(batch).double().numpy()
            return outputs

    def _on_gpu(self, batch: torch.Tensor) -> Floats:
        lane = self._lane
        stream = lane.on(self._device)
        with torch.cuda.stream(stream):
            outputs = self._module(lane.send(batch).to(self._device, non_blocking=True))
            landed = lane.land(outputs.double())
        stream.synchronize()  # other threads run meanwhile
        return landed.numpy().copy()


def load(
    spec: NetworkSpec,
    weights: Mapping[str, Single],
    *,
    device: Device | Literal["cuda:0"] = "auto",
    autocast: Autocast = "none",
    threads: int = 1,
    compiled: bool = False,
) -> TorchPredictor:
    """A predictor with these weights; `auto` takes the GPU when torch sees one.

    `compiled` has torch.compile make a kernel of it, for batches of any size, at the first batch: the golden rows.

    Raises:
        StartError: CUDA is asked for and torch sees none.
    """
    place = _place(device)
    torch.set_num_threads(threads)
    module = build(spec)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    dtype = torch.float64 if place.type == "cpu" and autocast == "none" else torch.float32  # on CPUs as numpy's
    module = module.to(place, dtype).eval().requires_grad_(requires_grad=False)
    predictor = TorchPredictor(module, place, autocast, dtype=dtype, inline_rows=inline_rows(spec))
    if compiled:
        predictor.compile()
    return predictor


def exported(artifact: Artifact, *, device: Device, autocast: Autocast, threads: int) -> TorchPredictor:
    """A predictor of a model whose program torch.export made; it computes in the types of its graph.

    Raises:
        StartError: CUDA is asked for and torch sees none.
        ArtifactError: torch cannot read the program, it holds NaN or infinity, or takes or gives another number of
            columns than the manifest says, or only one number of rows.
    """
    place = _place(device)
    torch.set_num_threads(threads)
    try:
        program = torch.export.load(io.BytesIO(artifact.program or b""))
        if place.type == "cuda":
            program = move_to_device_pass(program, place)
        module = program.module()
    except Exception as error:
        raise ArtifactError(f"torch {torch.__version__} cannot read the program: {_line(error)}") from error
    for name, tensor in {**program.state_dict, **program.constants}.items():
        if isinstance(tensor, torch.Tensor) and not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"tensor {name} of the program holds NaN or infinity: export a model without")
    predictor = TorchPredictor(module, place, autocast)
    network = artifact.manifest.network
    for rows in (1, 3):
        try:
            shape = predictor(np.zeros((rows, network.inputs), dtype=np.float32)).shape
        except Exception as error:
            raise ArtifactError(
                f"the program fails on {rows} rows of {network.inputs} features: {_line(error)}: export it with"
                ' dynamic_shapes=({0: torch.export.Dim("rows")},)'
            ) from error
        if shape != (rows, network.outputs):
            raise ArtifactError(
                f"the program gives shape {shape} for {rows} rows, the manifest says {(rows, network.outputs)}"
            )
    predictor.name = f"export {predictor.name}"
    return predictor


def _place(device: Device | Literal["cuda:0"]) -> torch.device:
    cuda = torch.cuda.is_available()
    if device.startswith("cuda") and not cuda:
        raise StartError("device 'cuda': torch sees no GPU here: set SAGESTAGE_DEVICE=cpu, or check the driver")
    return torch.device("cuda" if cuda and device != "cpu" else "cpu")


def _line(error: Exception) -> str:
    """The error's first line: torch explains at length."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
