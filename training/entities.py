"""The split of rows of many entities: at the same time for all, so that nothing of the future is known of any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.contract.schema import Floats
from training.config import TrainConfig
from training.sorting import above, by
from training.spill import Spill
from training.split import Segments, SegmentsBuilder
from training.statistics import order_statistics


def split(groups: Spill, times: Spill, config: TrainConfig) -> tuple[Segments, Floats]:
    """The segments of rows in order of (entity, time), and the time of the last row that training sees.

    The shares of the configuration are met as far as rows of one time are kept together.
    """
    rows = times.rows
    held_out, test = round(rows * (config.validation + config.test)), round(rows * config.test)
    cuts = [_key(times, min(max(rank, 0), rows - 1)) for rank in (rows - held_out, rows - test)]
    builder = SegmentsBuilder()
    last: list[float] | None = None
    entity: Floats | None = None
    for (_, names), (_, keys) in zip(groups.blocks(), times.blocks(), strict=True):
        part = sum((~_before(keys, cut)).astype(np.int8) for cut in cuts)
        before = np.concatenate([names[:1] + 1.0 if entity is None else entity, names[:-1]])
        builder.add(np.asarray(part, dtype=np.int8), (names != before).any(axis=1))
        entity = names[-1:]
        seen = keys[np.asarray(part) < len(cuts)]
        if len(seen):
            latest = seen[by(seen)[-1]].tolist()
            last = latest if last is None else max(last, latest)
    return builder.build(), cuts[0] if last is None else np.array(last)


def _before(keys: Floats, cut: Floats) -> NDArray[np.bool_]:
    """Whether each key stands before the cut."""
    same = (keys == cut).all(axis=1)
    return np.asarray(~above(keys, cut) & ~same)


def _key(times: Spill, rank: int) -> Floats:
    """The key of that rank (from 0) among all, by its first column first; no sort, little memory."""
    found: list[float] = []

    def next_values() -> Iterator[Floats]:
        for _, keys in times.blocks():
            yield _those(keys, found)[:, [len(found)]]

    for _ in times.columns:
        value = order_statistics(next_values, [[rank]])[0][rank]
        rank -= sum(int(np.count_nonzero(values < value)) for values in next_values())
        found.append(value)
    return np.array(found)


def _those(keys: Floats, first: Sequence[float]) -> Floats:
    """The keys that begin with these values."""
    same = (keys[:, : len(first)] == np.asarray(first)).all(axis=1)
    return np.asarray(keys[same])
