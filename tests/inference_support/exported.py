"""A model of a user's own as torch.export writes it, and its archive."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from inference.contract import artifact
from inference.contract.artifact import Golden
from inference.contract.network import NetworkSpec
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from tests.inference_support import artifacts

OF = artifacts.plain_transform(4)


class Attention(torch.nn.Module):
    """What no NetworkSpec says: normalisation, attention over groups of features, a branch by value."""

    def __init__(self, *, fixed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = torch.nn.BatchNorm1d(4)
        self.spread = torch.nn.Linear(4, 12)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = torch.nn.Linear(12, 1)
        self.fixed = fixed

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = self.spread(self.norm(features)).reshape(2 if self.fixed else features.shape[0], 3, 4)
        hidden = hidden + self.attention(hidden, hidden, hidden)[0]
        out = self.last(hidden.reshape(-1, 12))
        return torch.where(features[:, :1] > 0, out, torch.nn.functional.gelu(out))


def export(module: torch.nn.Module, *, fixed: bool = False) -> bytes:
    """The module as torch.export.save writes it, for any number of rows or (`fixed`) for two."""
    rows = None if fixed else ({0: torch.export.Dim("rows")},)
    program = torch.export.export(module.eval(), (torch.zeros(2, 4),), dynamic_shapes=rows)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def pack(path: Path, module: torch.nn.Module, program: bytes, *, outputs: int = 1) -> None:
    """An archive of the program, with golden rows that the module answered."""
    made = artifacts.make(OF)
    network = NetworkSpec(inputs=4, hidden=(), outputs=outputs)
    manifest = made.manifest.model_copy(update={"program": "export", "network": network})

    def predict(features: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module.eval()(torch.from_numpy(features)).double().numpy()

    rows = artifacts.instances(OF, 8)
    answers = Predictions.of(OF, predict(OF.apply(RecordReader(OF).read(rows)).matrix))
    golden = Golden(instances=rows, predictions=answers.values.tolist())
    artifact.pack(path, manifest, {}, golden, predict, program=program)
