"""Which variant answers, and which of its instances: pure choices."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar


class Busy(Protocol):
    """Something that counts the requests it is working on."""

    @property
    def outstanding(self) -> int:
        """Requests sent and not yet answered."""


InstanceT = TypeVar("InstanceT", bound=Busy)


def choose_variant(weights: Mapping[str, float], roll: float) -> str | None:
    """The variant that a request goes to, with probability weight / sum of weights.

    Args:
        weights: variant name to weight, each at least 0; zero is a weight like any other and draws nothing.
        roll: a uniform draw from [0, 1).

    Returns:
        The variant's name, or None when no weight is above 0.
    """
    mark = roll * sum(weights.values())
    chosen = None
    for name, weight in weights.items():
        if weight > 0:
            chosen = name  # the last positive one also takes what rounding leaves over
            if mark < weight:
                break
            mark -= weight
    return chosen


def least_outstanding(instances: Sequence[InstanceT], turn: int) -> InstanceT | None:
    """The least busy instance; `turn`, which counts up, alternates between equals. None when there is none."""
    if not instances:
        return None
    start = turn % len(instances)
    rotated = [*instances[start:], *instances[:start]]
    return min(rotated, key=lambda instance: instance.outstanding)
