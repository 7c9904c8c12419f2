from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from infra.cloud.routing import choose_variant, least_outstanding

WEIGHTS = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1e6, width=32), min_size=1, max_size=10)
ROLLS = st.floats(0, 1, exclude_max=True)


@dataclass
class Worker:
    name: str
    outstanding: int


@given(WEIGHTS, ROLLS)
def test_a_variant_without_weight_is_never_drawn(weights: dict[str, float], roll: float) -> None:
    chosen = choose_variant(weights, roll)
    if chosen is None:
        assert not any(weights.values())
    else:
        assert weights[chosen] > 0


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 20), min_size=1))
def test_shares_are_exactly_the_weights(weights: dict[str, int]) -> None:
    total = sum(weights.values())
    drawn = Counter(choose_variant(dict(weights), (step + 0.5) / max(total, 1)) for step in range(total))
    assert {name: drawn[name] for name in weights} == weights


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 100))
def test_the_least_busy_instance_is_taken(loads: list[int], turn: int) -> None:
    workers = [Worker(str(index), load) for index, load in enumerate(loads)]
    chosen = least_outstanding(workers, turn)
    assert chosen is not None
    assert chosen.outstanding == min(loads)


def test_equally_busy_instances_take_turns() -> None:
    workers = [Worker("a", 0), Worker("b", 0), Worker("c", 0)]
    chosen = [least_outstanding(workers, turn) for turn in range(6)]
    assert [worker.name for worker in chosen if worker] == ["a", "b", "c", "a", "b", "c"]


def test_no_instance_is_no_choice() -> None:
    assert least_outstanding([], 3) is None
