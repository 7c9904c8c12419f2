"""MLServer, no extra worker processes, adaptive batching; numpy, since its environment has no torch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from safetensors.numpy import load_file


class Peer(MLModel):
    """The network on numpy, float32."""

    async def load(self) -> bool:
        """Read the weights."""
        weights = load_file(Path(os.environ["BENCH_MODEL"]) / "weights.safetensors")
        self.layers = [(weights[f"layers.{n}.weight"].T.copy(), weights[f"layers.{n}.bias"]) for n in range(3)]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One batch."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        values = (np.clip(rows, -9.0, 9.0) - np.float32(0.1)) / np.float32(1.3)
        for weight, bias in self.layers[:-1]:
            values = np.maximum(values @ weight + bias, 0.0)
        weight, bias = self.layers[-1]
        output = NumpyCodec.encode_output("predictions", values @ weight + bias)
        return InferenceResponse(model_name=self.name, outputs=[output])
