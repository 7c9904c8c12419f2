"""What the workers are asked to do: the network, the job and the place of its checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from inference.contract.network import NetworkSpec
from training import storage
from training.config import TrainConfig
from training.prepared import Prepared

if TYPE_CHECKING:
    from training.loop import Job

_HYPERPARAMETERS = (
    "learning_rate", "weight_decay", "dropout", "epochs", "batch_size", "patience", "seed", "precision",
    "checkpoint_minutes",
)  # fmt: skip


def network(prepared: Prepared, config: TrainConfig) -> NetworkSpec:
    """The network of the settings, for the features and classes of the data."""
    return NetworkSpec(
        inputs=len(prepared.transform.feature_names),
        hidden=config.hidden,
        outputs=max(len(prepared.transform.classes), 1),
        activation=config.activation,
    )


def job(prepared: Prepared, config: TrainConfig, network: NetworkSpec, checkpoint: str) -> Job:
    """One training, as its workers read it."""
    from training.loop import Job  # noqa: PLC0415  # imports torch

    files = prepared.features
    return Job(
        checkpoint=checkpoint,
        features=files.table.folder,
        rows=files.table.rows,
        network=network,
        task=prepared.task,
        **config.model_dump(include=set(_HYPERPARAMETERS)),
    )


def checkpoint(prepared: Prepared, config: TrainConfig, network: NetworkSpec, folder: Path) -> str:
    """Where to go on from. In a place of the user's the name says for which rows, settings and network it is."""
    if config.checkpoint is None:
        return f"{folder}/{config.name}.safetensors"
    settings = config.model_dump_json(include=set(_HYPERPARAMETERS) | {"workers"})
    identity = hashlib.sha256(f"{settings}{network.model_dump_json()}{prepared.digest}".encode()).hexdigest()
    return f"{storage.name(config.checkpoint).rstrip('/')}/{config.name}-{identity[:16]}.safetensors"
