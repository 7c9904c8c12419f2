"""Who gets which variant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.router import Router, RoutingError, choose, uniform

USERS = [f"user-{number}" for number in range(100_000)]
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
weightings = st.dictionaries(texts, st.floats(0, 1000), min_size=1, max_size=6).filter(lambda w: any(w.values()))


def binomial_interval(count: int, probability: float) -> tuple[int, int]:
    """The central 99.9 % of a binomial distribution, by its logarithms."""
    low, high = 0, count
    logs = _log_probabilities(count, probability)
    total, tail = 0.0, 0.0005
    for low in range(count + 1):
        total += exp(logs[low])
        if total > tail:
            break
    total = 0.0
    for high in range(count, -1, -1):
        total += exp(logs[high])
        if total > tail:
            break
    return low, high


def _log_probabilities(count: int, probability: float) -> list[float]:
    current = count * log(1 - probability)
    logs = [current]
    for successes in range(1, count + 1):
        current += log((count - successes + 1) / successes) + log(probability / (1 - probability))
        logs.append(current)
    return logs


@pytest.mark.parametrize("weights", [{"a": 90.0, "b": 10.0}, {"a": 1.0, "b": 1.0, "c": 2.0}, {"x": 0.3, "y": 99.7}])
def test_shares_lie_within_the_binomial_interval(weights: Mapping[str, float]) -> None:
    chosen = [choose(user, weights, salt="spring") for user in USERS]
    for variant, weight in weights.items():
        low, high = binomial_interval(len(USERS), weight / sum(weights.values()))
        assert low <= chosen.count(variant) <= high


@settings(max_examples=200, deadline=None)
@given(weightings, texts, st.lists(texts, max_size=30), st.floats(0, 1000), st.data())
def test_a_changed_weight_moves_users_only_to_or_from_its_variant(
    weights: dict[str, float], salt: str, users: list[str], weight: float, data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(sorted(weights)))
    after = weights | {changed: weight}
    if not any(after.values()):
        return
    for user in users:
        before, now = choose(user, weights, salt=salt), choose(user, after, salt=salt)
        assert before == now or changed in (before, now)


@settings(max_examples=100, deadline=None)
@given(weightings, texts, texts, st.randoms())
def test_the_order_of_variants_does_not_matter(weights: dict[str, float], salt: str, user: str, random: Any) -> None:
    names = list(weights)
    random.shuffle(names)
    assert choose(user, weights, salt=salt) == choose(user, {name: weights[name] for name in names}, salt=salt)


def test_renaming_one_variant_moves_nobody_between_the_rest() -> None:
    before, after = {"a": 5.0, "b": 3.0, "c": 2.0}, {"a": 5.0, "b": 3.0, "z": 2.0}
    for user in USERS[:5000]:
        old, new = choose(user, before, salt="s"), choose(user, after, salt="s")
        assert old in (new, "c") or new == "z"


def test_weight_0_gets_nobody() -> None:
    assert {choose(user, {"a": 1.0, "b": 0.0}, salt="s") for user in USERS[:2000]} == {"a"}


def test_experiments_with_other_salts_are_independent() -> None:
    half = {"a": 1.0, "b": 1.0}
    both = sum(choose(user, half, salt="one") == choose(user, half, salt="two") == "a" for user in USERS)
    low, high = binomial_interval(len(USERS), 0.25)
    assert low <= both <= high


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ({}, "positive"),
        ({"a": 0.0}, "positive"),
        ({"a": -1.0}, "-1.0"),
        ({"a": float("nan")}, "nan"),
        ({"a\0": 1.0}, "zero byte"),
    ],
)
def test_what_cannot_be_used_is_named(weights: dict[str, float], word: str) -> None:
    with pytest.raises(RoutingError, match=word):
        choose("user", weights, salt="s")


def test_the_client_names_the_users_variant() -> None:
    class Runtime:
        asked: dict[str, Any]

        def invoke_endpoint(self, **request: Any) -> Mapping[str, Any]:
            self.asked = request
            return {"Body": b""}

    runtime = Runtime()
    router = Router(runtime, "demand", {"champion": 1.0, "challenger": 1.0}, salt="s")
    router.invoke("user-1", Body=b"[]")
    assert runtime.asked == {"EndpointName": "demand", "TargetVariant": router.variant("user-1"), "Body": b"[]"}


def test_the_vectors_in_the_docs_hold() -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    vectors = re.findall(r"^\| `([^`]*)` \| `([^`]*)` \| `([^`]*)` \| ([0-9.e-]+) \|$", page, re.MULTILINE)
    assert len(vectors) >= 6
    for salt, variant, user, expected in vectors:
        assert uniform(salt, variant, user) == float(expected)
    choices = re.findall(
        r"^\| `([^`]*)` \| `([^`]*)` \| `champion` 90, `challenger` 10 \| `(\w+)` \|$", page, re.MULTILINE
    )
    assert len(choices) >= 4
    for salt, user, variant in choices:
        assert choose(user, {"champion": 90.0, "challenger": 10.0}, salt=salt) == variant
