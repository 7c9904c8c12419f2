"""The only place that builds a torch module from a NetworkSpec; training builds and serving loads with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

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


class TorchPredictor:
    """A module in inference mode on one device: float64 on CPUs, as numpy's; float32, or autocast, on GPUs."""

    def __init__(self, module: nn.Module, spec: NetworkSpec, device: torch.device, autocast: Autocast) -> None:
        self.name = f"torch {device}" + ("" if autocast == "none" else f" {autocast}")
        self.inline_rows = inline_rows(spec) if device.type == "cpu" else 0
        self._type = torch.float64 if device.type == "cpu" and autocast == "none" else torch.float32
        self._module: Callable[[torch.Tensor], torch.Tensor] = (
            module.to(device, self._type).eval().requires_grad_(requires_grad=False)
        )
        self._device = device
        self._dtype = _DTYPES.get(autocast)

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
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            outputs: Floats = self._module(batch).double().cpu().numpy()
            return outputs


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
    cuda = torch.cuda.is_available()
    if device.startswith("cuda") and not cuda:
        raise StartError("device 'cuda': torch sees no GPU here: set SAGESTAGE_DEVICE=cpu, or check the driver")
    place = torch.device("cuda" if cuda and device != "cpu" else "cpu")
    torch.set_num_threads(threads)
    module = build(spec)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    predictor = TorchPredictor(module, spec, place, autocast)
    if compiled:
        predictor.compile()
    return predictor
