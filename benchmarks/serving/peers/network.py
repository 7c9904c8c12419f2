"""The benchmark's model for the peers: the artifact's scaling and weights in a torch module, in inference mode."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

torch.set_num_threads(1)
MODEL = Path(os.environ["BENCH_MODEL"])


class Network(torch.nn.Module):
    """Clip, scale, three layers; float32, as anyone would serve it."""

    def __init__(self) -> None:
        super().__init__()
        weights = load_file(MODEL / "weights.safetensors")
        count = len(weights) // 2
        self.layers = torch.nn.ModuleList()
        for number in range(count):
            weight = weights[f"layers.{number}.weight"]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": weights[f"layers.{number}.bias"]})
            self.layers.append(layer)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Predictions of shape (rows,) for raw rows of shape (rows, 16)."""
        values = (rows.clamp(-9.0, 9.0) - 0.1) / 1.3
        *hidden, last = self.layers
        for layer in hidden:
            values = torch.relu(layer(values))
        return last(values)[:, 0]


network = Network().eval()


def predict(rows: list[list[float]] | np.ndarray) -> list[float]:
    """The predictions of some rows."""
    with torch.inference_mode():
        return network(torch.tensor(rows, dtype=torch.float32)).tolist()
