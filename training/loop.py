"""The training loop: AdamW on a cosine schedule, early stopping on validation rows, the best weights kept.

The same seed gives the same weights on the same machine: one thread adds in one order, every shuffle is drawn from
the seed, and all workers draw the same one and take their share of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.contract.network import NetworkSpec, Single
from inference.contract.schema import Frozen, Task
from inference.predictors.torch import build
from training import checkpoint
from training.errors import TrainingError
from training.shards import Shards
from training.table import FeatureTable

MAX_NORM = 1.0
"""Gradients are scaled down to this norm: an outlier in one batch must not undo an epoch."""


class Job(Frozen):
    """All that a worker needs: where the rows are, and how to learn from them.

    Attributes:
        features: the folder of the feature table, and `rows` of it.
        precision: of the forward pass; weights and sums are float32 always.
        checkpoint: the file to go on from and to write after each epoch; None: neither.
        checkpoint_minutes: also within an epoch, so often.
        until: the epoch to pause after, to be gone on from the checkpoint; the schedule is that of all epochs.
    """

    features: Path
    rows: int
    network: NetworkSpec
    task: Task
    learning_rate: float
    weight_decay: float
    dropout: float
    epochs: int
    batch_size: int
    patience: int
    seed: int
    precision: Literal["float32", "bf16"] = "float32"
    checkpoint: str | None = None
    checkpoint_minutes: float | None = None
    until: int | None = None


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

    Where the job has a checkpoint, the epochs in it are told again and training goes on behind them.

    Raises:
        TrainingError: the loss is no longer finite, or the checkpoint cannot be written.
    """
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    module = build(job.network)
    _add_dropout(module, job)
    table = FeatureTable(job.features, job.rows, job.network.inputs, job.task is Task.REGRESSION)
    shards = Shards(table, seed=job.seed, rank=rank, workers=workers)
    loss_of = functional.cross_entropy if job.task is Task.CLASSIFICATION else _squared_error

    model = wrap(module.to(device))
    batch = max(job.batch_size // workers, 1)
    steps = job.epochs * shards.batches(batch)
    optimizer = torch.optim.AdamW(module.parameters(), lr=job.learning_rate, weight_decay=job.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)

    run = _Run(job, module, optimizer, schedule, writes=rank == 0)
    run.resume(_checkpoint(job, rank, workers, device))
    for epoch in run.epochs:
        on_epoch(epoch)
    while not run.over:
        number = len(run.epochs) + 1
        torch.manual_seed(job.seed + number)  # dropout after a restart is that of a run without one
        model.train()
        for features, targets in islice(shards.epoch(number, batch), run.step, None):
            with _precision(job, device):
                outputs = model(torch.from_numpy(features).to(device))
            loss = loss_of(outputs.float(), torch.from_numpy(targets).to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            run.stepped(loss.item(), len(targets))
        sums = torch.tensor([run.total, run.seen, *_evaluate(module, shards, loss_of, device)], dtype=torch.float64)
        _add_up(sums, workers, device)
        train_total, train_count, total, count = sums.tolist()
        epoch = Epoch(number=number, train_loss=train_total / train_count, validation_loss=total / count)
        if not math.isfinite(epoch.train_loss + epoch.validation_loss):
            raise TrainingError(
                f"the loss is no longer finite in epoch {number}: lower the learning rate, now {job.learning_rate:g}"
            )
        run.ended(epoch)
        on_epoch(epoch)
    return Outcome({name: tensor.cpu().numpy() for name, tensor in run.best_weights.items()}, run.epochs, run.best)


class _Run:
    """Where a training is; what a checkpoint keeps of it."""

    def __init__(
        self,
        job: Job,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        *,
        writes: bool,
    ) -> None:
        self.epochs: list[Epoch] = []
        self.best = 0
        self.best_weights = copy.deepcopy(module.state_dict())
        self.step, self.total, self.seen = 0, 0.0, 0  # within the epoch
        self._job, self._module, self._optimizer, self._schedule = job, module, optimizer, schedule
        self._writes = writes and job.checkpoint is not None
        self._saved = monotonic()

    @property
    def over(self) -> bool:
        """Whether all epochs were run, or validation has not improved for as long as patience lasts."""
        number = len(self.epochs)
        last = self._job.epochs if self._job.until is None else min(self._job.until, self._job.epochs)
        return number >= last or (self.best > 0 and number - self.best >= self._job.patience)

    def stepped(self, loss: float, rows: int) -> None:
        """One batch was learnt from."""
        self.step += 1
        self.total += loss * rows
        self.seen += rows
        often = self._job.checkpoint_minutes
        if self._writes and often is not None and monotonic() - self._saved >= 60.0 * often:
            self._save()

    def ended(self, epoch: Epoch) -> None:
        """An epoch is over."""
        self.epochs.append(epoch)
        if self.best == 0 or epoch.validation_loss < self.epochs[self.best - 1].validation_loss:
            self.best, self.best_weights = epoch.number, copy.deepcopy(self._module.state_dict())
        self.step, self.total, self.seen = 0, 0.0, 0
        if self._writes:
            self._save()

    def _save(self) -> None:
        state = self._optimizer.state_dict()
        arrays = {f"now.{name}": tensor for name, tensor in self._module.state_dict().items()}
        arrays |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        for number, moments in state["state"].items():
            arrays |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        figures = {
            "epochs": [epoch.model_dump() for epoch in self.epochs],
            "best": self.best,
            "within": [self.step, self.total, self.seen],
            "rates": [group["lr"] for group in state["param_groups"]],
            "schedule": self._schedule.state_dict(),
        }
        found = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
        checkpoint.write(str(self._job.checkpoint), checkpoint.Checkpoint(found, figures))
        self._saved = monotonic()

    def resume(self, state: checkpoint.Checkpoint | None) -> None:
        """Go on from the checkpoint, if there is one."""
        if state is None:
            return
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.arrays.items()}

        def below(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self._module.load_state_dict(below("now."))
        self.best_weights = below("best.")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in below("optimizer.").items():
            number, _, what = name.partition(".")
            moments.setdefault(int(number), {})[what] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        for group, rate in zip(groups, state.figures["rates"], strict=True):
            group["lr"] = rate
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._schedule.load_state_dict(dict(state.figures["schedule"]))
        self.epochs = [Epoch.model_validate(epoch) for epoch in state.figures["epochs"]]
        self.best = state.figures["best"]
        self.step, self.total, self.seen = state.figures["within"]


def _checkpoint(job: Job, rank: int, workers: int, device: str) -> checkpoint.Checkpoint | None:
    """What the first worker finds; the others are told of it: they may be on hosts that do not have the file."""
    content = None if job.checkpoint is None or rank else checkpoint.load_bytes(job.checkpoint)
    if job.checkpoint is not None and workers > 1:
        size = torch.tensor([-1 if content is None else len(content)], device=device)
        torch.distributed.broadcast(size, 0)
        if size.item() < 0:
            return None
        held = torch.zeros(int(size.item()), dtype=torch.uint8, device=device)
        if content is not None:
            held.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        torch.distributed.broadcast(held, 0)
        content = held.cpu().numpy().tobytes()
    return None if content is None else checkpoint.parse(content)


def _precision(job: Job, device: str) -> AbstractContextManager[Any]:
    """Of the forward pass; entering autocast takes time even where it is off."""
    return torch.autocast(torch.device(device).type, torch.bfloat16) if job.precision == "bf16" else nullcontext()


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(outputs[:, 0], targets)


@torch.no_grad()
def _evaluate(
    module: nn.Module, shards: Shards, loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], device: str
) -> tuple[float, int]:
    """The sum of the losses of this worker's validation rows, and their number."""
    module.eval()
    total, count = 0.0, 0
    for features, targets in shards.validation():
        outputs = module(torch.from_numpy(features).to(device))
        total += loss_of(outputs, torch.from_numpy(targets).to(device)).item() * len(targets)
        count += len(targets)
    return total, count


def _add_up(sums: torch.Tensor, workers: int, device: str) -> None:
    """Make all workers see the same sums: they must agree on when to stop."""
    if workers > 1:
        moved = sums.to(device)
        torch.distributed.all_reduce(moved)
        sums.copy_(moved)


def _add_dropout(module: nn.Module, job: Job) -> None:
    """Zero a share of what enters each layer but the first; the network's spec, which serves, knows none of it."""
    if job.dropout > 0.0:
        for layer in range(1, len(job.network.hidden) + 1):
            module.get_submodule(f"layers.{layer}").register_forward_pre_hook(
                lambda part, inputs: (functional.dropout(inputs[0], job.dropout, training=part.training),)
            )
