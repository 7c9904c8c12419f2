"""Counting in shared memory, and how others read it."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import exposition
from inference.board import Board, State
from inference.registry import Registry
from inference.telemetry import SECONDS, STAGES, Cell


def board(workers: int = 3) -> Board:
    made = Board.create(workers, 2)
    made.label(0, {"model": "abc", "model_name": 'od"d\\\n'})
    return made


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100)), max_size=60))
def test_totals_are_the_sum_over_workers(observed: list[tuple[int, float]]) -> None:
    made = board()
    for worker, seconds in observed:
        made.recorder(worker).answered(200, seconds)
        made.recorder(worker).batch(2, [seconds])
    (total,) = made.totals()
    histogram = total.stages["request"]
    assert total.statuses[200] == sum(histogram.counts) == len(observed)
    assert histogram.total == pytest.approx(sum(seconds for _, seconds in observed))
    assert total.single[Cell.ROWS] == 2 * len(observed)
    for place, bound in enumerate(SECONDS):
        assert sum(histogram.counts[: place + 1]) == sum(seconds <= bound for _, seconds in observed)


def test_the_text_is_what_prometheus_reads() -> None:
    made = board()
    made.recorder(1).answered(200, 0.003)
    made.recorder(2).failed("input")
    made.set_state(1, State.READY, 4711)
    text = exposition.prometheus(made).decode()
    line = re.compile(r'^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="([^"\\\n]|\\.)*",?)+\})? [0-9.e+-]+)$')
    assert all(line.match(one) for one in text.splitlines())
    assert 'model_name="od\\"d\\\\\\n"' in text
    assert 'sagestage_workers{state="ready"} 1' in text
    for stage in STAGES:
        buckets = [float(one) for one in re.findall(rf'_bucket{{.*stage="{stage}",le=.*}} (\S+)', text)]
        assert buckets == sorted(buckets)
        assert len(buckets) == len(SECONDS) + 1
    assert len({one for one in text.splitlines() if one.startswith("# TYPE")}) == text.count("# TYPE")


def test_a_block_that_is_given_up_is_forgotten() -> None:
    made = board()
    made.label(1, {"model": "x"})
    made.recorder(0, 1).batch(5, [0.001])
    made.label(1, None)
    made.label(1, {"model": "y"})
    assert [total.single[Cell.ROWS] for total in made.totals()] == [0.0, 0.0]


def test_emf_tells_only_what_is_new() -> None:
    made = board()
    made.recorder(0).answered(200, 0.003)
    (before,) = made.totals()
    made.recorder(1).answered(503, 0.2)
    (now,) = made.totals()
    line = exposition.emf(now, before, milliseconds=5)
    assert line is not None
    told = orjson.loads(line)
    assert (told["Requests"], told["Errors5XX"], told["_aws"]["Timestamp"]) == (1, 1, 5)
    assert told["Latency"] == {"Values": [250.0], "Counts": [1]}
    assert exposition.emf(now, now, milliseconds=6) is None


def test_the_model_not_used_for_longest_goes_first_and_only_if_it_must() -> None:
    registry = Registry(100, 3)
    for name, size in (("a", 40), ("b", 30)):
        registry.add(name, f"/{name}", size)
    used: dict[str | None, float] = {"a": 2.0, "b": 1.0}
    assert registry.victims(30, used) == []
    assert registry.victims(50, used) == ["b"]
    assert registry.victims(90, used) == ["b", "a"]
    assert registry.victims(101, used) is None
    registry.add("c", "/c", 1)
    assert registry.victims(1, used) == ["c"]  # no block is left, and nobody has used it


def test_blocks_are_given_again() -> None:
    registry = Registry(100, 2)
    first = registry.add("a", "/a", 1)
    assert registry.add("b", "/b", 1) != first
    assert registry.remove("a") == first
    assert registry.add("c", "/c", 1) == first
    assert registry.placed() == {"b": ("/b", 2), "c": ("/c", first)}
