"""Capture files, read line by line into counts: memory does not grow with them, and readers work side by side."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from training import storage
from training.monitor.pairs import Pairs
from training.monitor.problems import Problem
from training.monitor.records import Plan, Read, Reader
from training.monitor.window import File

BUFFER_BYTES = 4 << 20
SMALL_BYTES = 32 << 20
"""Less is read in this process: to start another takes longer."""


def read(files: Sequence[File], plan: Plan, *, readers: int | None = None) -> Read:
    """Read files, in several processes where it is worth it.

    Args:
        files: of the window.
        plan: what is looked for.
        readers: processes; None: as many as suit.
    """
    wanted = suitable(sum(file.bytes for file in files), _cores(), os.getloadavg()[0]) if readers is None else readers
    shares = _shares(files, max(1, min(wanted, len(files))))
    if len(shares) < 2:
        return _read(list(files), plan, 0)
    result = Read()
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        for one in pool.map(_read, shares, [plan] * len(shares), range(len(shares))):
            result.merge(one)
    return result


def suitable(size: int, cores: int, load: float) -> int:
    """How many readers suit: one for little, otherwise as many as there are cores that nobody uses.

    Args:
        size: of the files, in bytes.
        cores: that this process may use.
        load: how many processes wanted to run during the last minute, on average.
    """
    return 1 if size < SMALL_BYTES else max(1, cores - int(load))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(files: Sequence[File], readers: int) -> list[list[File]]:
    """The files for each reader, about as many bytes each."""
    shares: list[list[File]] = [[] for _ in range(readers)]
    sizes = [0] * readers
    for file in sorted(files, key=lambda one: (-one.bytes, one.path)):
        least = sizes.index(min(sizes))
        shares[least].append(file)
        sizes[least] += file.bytes
    return [share for share in shares if share]


def _read(files: list[File], plan: Plan, reader: int) -> Read:
    system, _ = storage.filesystem(plan.place)
    result = Read()
    with Pairs.writer(plan.pairs, reader) as pairs:
        readers = {
            variant: Reader(variant, baseline, plan, result, pairs) for variant, baseline in plan.baselines.items()
        }
        for file in files:
            one = readers.get(file.variant)
            try:
                for line in _lines(system, file):
                    if one is not None:
                        one.take(line, file)
                    elif line.strip():
                        result.problems[Problem.NO_BASELINE] += 1
            except (OSError, EOFError) as error:  # what is cut off or gone; the lines before it count
                del error
                result.problems[Problem.FILE] += 1
        for one in readers.values():
            one.flush()
    return result


def _lines(system: Any, file: File) -> Iterator[bytes]:
    with system.open_input_stream(file.path, compression="gzip" if file.path.endswith(".gz") else None) as stream:
        yield from io.BufferedReader(stream, BUFFER_BYTES)
