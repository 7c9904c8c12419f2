from __future__ import annotations

import os

import pytest
import torch

from training.errors import TrainingError
from training.hosts import Joined
from training.ray_train import PrivateRay


def test_more_workers_than_cpus_are_refused_at_once_with_both_numbers() -> None:
    there = len(os.sched_getaffinity(0))
    with pytest.raises(TrainingError, match=f"{there + 1} workers need {there + 1} CPUs and there are {there}: ask"):
        PrivateRay(there + 1)
    with pytest.raises(TrainingError, match="9 workers need 9 CPUs and there are 8"):
        PrivateRay(9, joined=Joined(address="", here="", hosts=2, cpus=8, token=""))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there_are_refused_before_any_data_are_read() -> None:
    with pytest.raises(TrainingError, match="1 workers with use_gpu need 1 GPUs and there are 0"):
        PrivateRay(use_gpu=True)
