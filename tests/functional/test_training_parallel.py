"""Features made by several processes, which are those that one makes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.training_support.rows import matrix, silent
from training import dataset, demo, features, parallel
from training.config import TrainConfig
from training.fit import fit
from training.table import BLOCK_ROWS


@pytest.mark.slow
def test_processes_make_the_bits_that_one_makes(tmp_path: Path) -> None:
    data = demo.write(tmp_path / "demo.csv", rows=3 * BLOCK_ROWS + 77)
    found = []
    for processes in (1, 3):
        folder = tmp_path / str(processes)
        folder.mkdir()
        config = TrainConfig(
            data=data, target=demo.TARGET, order=demo.ORDER, output=folder, processes=processes, chunk_rows=5_000
        )
        rows = dataset.load(config, folder, silent)
        found.append(features.build(rows, fit(rows, config).transform, config, folder, silent))
    serial, several = found
    assert len(list(serial.table.folder.iterdir())) == 1
    assert len(list(several.table.folder.iterdir())) == 3
    np.testing.assert_array_equal(matrix(several), matrix(serial))
    assert several.table.digest() == serial.table.digest()
    assert (several.counts, several.left_out) == (serial.counts, serial.left_out)


def test_processes_are_used_above_a_row_count_only() -> None:
    assert parallel.processes(parallel.PARALLEL_ROWS - 1, None) == 1
    assert parallel.processes(parallel.PARALLEL_ROWS, None) == len(os.sched_getaffinity(0))
    assert parallel.processes(10, 3) == 3


@pytest.mark.parametrize(("rows", "count"), [(1, 4), (BLOCK_ROWS, 2), (10 * BLOCK_ROWS + 1, 3), (7, 1)])
def test_stretches_are_whole_blocks_and_hold_every_row_once(rows: int, count: int) -> None:
    found = parallel.stretches(rows, count)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(rows))
    assert len(found) <= count
    assert all(start % BLOCK_ROWS == 0 for start, _ in found)
