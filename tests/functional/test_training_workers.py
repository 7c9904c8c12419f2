"""Two workers of one training: what both see, and what becomes of it when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference.contract.network import NetworkSpec, forward
from inference.contract.schema import Task
from inference.predictors.torch import build
from tests.training_support.rays import workers
from tests.training_support.rows import matrix, silent, table
from training import checkpoint, cluster, demo, features
from training.config import TrainConfig
from training.errors import TrainingError
from training.features import FeatureSet
from training.hosts import Joined
from training.loop import Epoch, Job
from training.prepared import Prepared, prepare
from training.ray_train import PrivateRay
from training.shards import WINDOW_ROWS

EPOCHS = 12
MANY = 2 * WINDOW_ROWS + 40_000
"""Rows of which each of two workers has more than one window."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two CPUs"),
]


@dataclass
class Seen:
    """One training by two workers: twice the same job, the second time with a kill; many rows; a job that fails."""

    whole: Job
    hit: Job
    many: Job
    rows: NDArray[np.float32]
    elsewhere: FeatureSet
    serial: FeatureSet
    error: TrainingError
    heard: list[tuple[int, Epoch]] = field(default_factory=list)

    def epochs(self, number: int) -> list[int]:
        return [epoch.number for job, epoch in self.heard if job == number]


def job_of(prepared: Prepared, folder: Path, name: str) -> Job:
    table = prepared.features.table
    return Job(
        features=table.folder, rows=table.rows,
        network=NetworkSpec(inputs=table.width, hidden=(16,), outputs=1),
        task=prepared.task, learning_rate=0.01, weight_decay=0.0, dropout=0.1, epochs=EPOCHS, batch_size=8,
        patience=EPOCHS, seed=0, checkpoint=str(folder / f"{name}.safetensors"),
    )  # fmt: skip


def many_rows(folder: Path) -> tuple[Job, NDArray[np.float32]]:
    """One epoch whose steps change nothing to speak of: its loss is that of the first weights."""
    random = np.random.Generator(np.random.PCG64(3))
    x = random.normal(size=(MANY + 1_000, 2)).astype(np.float32)
    made = table(folder, x, (x[:, 0] * x[:, 1]).astype(np.float32), MANY)
    job = Job(
        features=made.folder, rows=made.rows, network=NetworkSpec(inputs=2, hidden=(8,), outputs=1),
        task=Task.REGRESSION, learning_rate=1e-12, weight_decay=0.0, dropout=0.0, epochs=1, batch_size=8_192,
        patience=1, seed=5,
    )  # fmt: skip
    return job, x


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    place = tmp_path_factory.mktemp("pair")
    data = demo.write(place / "demo.csv", rows=1_000)
    config = TrainConfig(
        data=data, target=demo.TARGET, order=demo.ORDER, output=place / "out", workers=2, chunk_rows=90
    )
    heard: list[tuple[int, Epoch]] = []
    many, rows = many_rows(place / "many")
    with PrivateRay(2) as ray, prepare(config) as prepared:
        whole, hit = (job_of(prepared, place, name) for name in ("whole", "hit"))
        victims: list[int] = []

        def listen(number: int, epoch: Epoch) -> None:
            heard.append((number, epoch))
            if not victims:
                victims.extend(workers(str(ray.folder)))  # of the first start: found before they are needed
            if (number, epoch.number) == (1, 3) and heard.count((number, epoch)) == 1:
                os.kill(victims[0], signal.SIGKILL)

        ray.ready()
        joined = Joined(address="", here="", hosts=2, cpus=2, token="")
        far = features.build(prepared.dataset, prepared.transform, config, place, silent, cluster.tasks(joined))
        with pytest.raises(TrainingError) as caught:
            ray.fit(
                [whole, hit, many, whole.model_copy(update={"features": place / "gone"})],
                listen,
                folder=prepared.fit_folder(),
                restarts=1,
            )
        yield Seen(whole, hit, many, rows, far, prepared.features, caught.value, heard)


def test_ray_tasks_make_the_features_that_one_process_makes(seen: Seen) -> None:
    np.testing.assert_array_equal(matrix(seen.elsewhere), matrix(seen.serial))
    assert seen.elsewhere.table.digest() == seen.serial.table.digest()
    assert (seen.elsewhere.counts, seen.elsewhere.left_out) == (seen.serial.counts, seen.serial.left_out)


def test_two_workers_learn_together(seen: Seen) -> None:
    losses = [epoch.validation_loss for job, epoch in seen.heard if job == 0][:EPOCHS]
    assert min(losses) < 0.8 * losses[0]


def test_two_workers_of_which_one_was_killed_go_on_to_the_same_state(seen: Seen) -> None:
    every = list(range(1, EPOCHS + 1))
    assert seen.epochs(0) == [*every, *every], "the new workers tell again what is in the checkpoints"
    assert len(seen.epochs(1)) < 2 * EPOCHS, "they were killed on the way"
    assert seen.epochs(1)[-EPOCHS:] == every, "from the first on, as they are in the checkpoint"
    whole, hit = checkpoint.read(str(seen.whole.checkpoint)), checkpoint.read(str(seen.hit.checkpoint))
    assert whole is not None
    assert hit is not None
    assert whole.figures == hit.figures
    assert whole.arrays.keys() == hit.arrays.keys()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, hit.arrays[name])


def test_each_row_of_several_windows_is_seen_by_one_worker_once(seen: Seen) -> None:
    torch.manual_seed(seen.many.seed)
    first = {name: tensor.numpy() for name, tensor in build(seen.many.network).state_dict().items()}
    x = seen.rows[:MANY]
    expected = float(np.square(forward(seen.many.network, first, x)[:, 0] - x[:, 0] * x[:, 1]).mean())
    ((_, epoch),) = [one for one in seen.heard if one[0] == 2]
    assert epoch.train_loss == pytest.approx(expected, rel=1e-5)


def test_a_workers_failure_is_one_line(seen: Seen) -> None:
    assert str(seen.error).startswith("worker 0 failed: ")
    assert "gone" in str(seen.error)
    assert "\n" not in str(seen.error)
