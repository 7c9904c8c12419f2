"""The training loop: AdamW on a cosine schedule, early stopping on validation rows, the best weights kept.

The same seed gives the same weights on the same machine: one thread adds in one order, every shuffle is drawn from
the seed, and all workers draw the same one and take their share of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.contract.network import NetworkSpec, Single
from inference.contract.schema import Frozen, Task
from inference.predictors.torch import build
from training.errors import TrainingError

EVALUATION_ROWS = 8_192
MAX_NORM = 1.0
"""Gradients are scaled down to this norm: an outlier in one batch must not undo an epoch."""


class Job(Frozen):
    """All that a worker needs: where the rows are, and how to learn from them. Files are those of FeatureSet."""

    features: Path
    targets: Path
    train_rows: Path
    validation_rows: Path
    network: NetworkSpec
    task: Task
    learning_rate: float
    weight_decay: float
    dropout: float
    epochs: int
    batch_size: int
    patience: int
    seed: int


class Epoch(Frozen):
    """The mean loss of each part after an epoch, counted from 1."""

    number: int
    train_loss: float
    validation_loss: float


class Outcome:
    """The weights of the best epoch, and all epochs."""

    def __init__(self, weights: dict[str, Single], epochs: list[Epoch], best: int) -> None:
        self.weights = weights
        self.epochs = epochs
        self.best = best


Wrap = Callable[[nn.Module], nn.Module]


def train(
    job: Job,
    on_epoch: Callable[[Epoch], None],
    *,
    device: str = "cpu",
    rank: int = 0,
    workers: int = 1,
    wrap: Wrap = lambda module: module,
) -> Outcome:
    """Train a network; `wrap` makes it distributed over the workers (each calls this with its rank).

    Raises:
        TrainingError: the loss is no longer finite.
    """
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    module = build(job.network)
    _add_dropout(module, job)
    features = torch.from_numpy(np.load(job.features, mmap_mode="c"))
    targets = torch.from_numpy(np.load(job.targets, mmap_mode="c"))
    train_rows = torch.from_numpy(np.load(job.train_rows))
    validation_rows = torch.from_numpy(np.load(job.validation_rows))
    loss_of = functional.cross_entropy if job.task is Task.CLASSIFICATION else _squared_error

    model = wrap(module.to(device))
    batch = max(job.batch_size // workers, 1)
    steps = job.epochs * math.ceil(len(train_rows) / (batch * workers))
    optimizer = torch.optim.AdamW(module.parameters(), lr=job.learning_rate, weight_decay=job.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)

    epochs: list[Epoch] = []
    best, best_weights = 0, copy.deepcopy(module.state_dict())
    for number in range(1, job.epochs + 1):
        model.train()
        total, seen = 0.0, 0
        for rows in _batches(train_rows, batch, seed=job.seed + number, rank=rank, workers=workers):
            loss = loss_of(model(features[rows].to(device)), targets[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
            seen += len(rows)
        losses = torch.tensor([total / seen, _evaluate(module, features, targets, validation_rows, loss_of, device)])
        _average(losses, workers)
        epoch = Epoch(number=number, train_loss=losses[0].item(), validation_loss=losses[1].item())
        if not math.isfinite(epoch.train_loss + epoch.validation_loss):
            raise TrainingError(
                f"the loss is no longer finite in epoch {number}: lower the learning rate, now {job.learning_rate:g}"
            )
        epochs.append(epoch)
        on_epoch(epoch)
        if best == 0 or epoch.validation_loss < epochs[best - 1].validation_loss:
            best, best_weights = number, copy.deepcopy(module.state_dict())
        elif number - best >= job.patience:
            break
    weights = {name: tensor.cpu().numpy() for name, tensor in best_weights.items()}
    return Outcome(weights, epochs, best)


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(outputs[:, 0], targets)


def _batches(rows: torch.Tensor, batch: int, *, seed: int, rank: int, workers: int) -> Iterator[torch.Tensor]:
    """This worker's share of a shuffle that all workers draw alike; every worker gets as many batches."""
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    share = shuffled[: len(shuffled) // workers * workers][rank::workers] if workers > 1 else shuffled
    yield from torch.split(share, batch)


@torch.no_grad()
def _evaluate(
    module: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    rows: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    device: str,
) -> float:
    module.eval()
    total = 0.0
    for part in torch.split(rows, EVALUATION_ROWS):
        total += loss_of(module(features[part].to(device)), targets[part].to(device)).item() * len(part)
    return total / len(rows)


def _average(losses: torch.Tensor, workers: int) -> None:
    """Make all workers see the same losses: they must agree on when to stop."""
    if workers > 1:
        torch.distributed.all_reduce(losses)
        losses /= workers


def _add_dropout(module: nn.Module, job: Job) -> None:
    """Zero a share of what enters each layer but the first; the network's spec, which serves, knows none of it."""
    if job.dropout > 0.0:
        for layer in range(1, len(job.network.hidden) + 1):
            module.get_submodule(f"layers.{layer}").register_forward_pre_hook(
                lambda part, inputs: (functional.dropout(inputs[0], job.dropout, training=part.training),)
            )
