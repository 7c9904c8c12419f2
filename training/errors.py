"""What a person can do something about; every message is one line with the value and the remedy."""

from __future__ import annotations

from collections.abc import Iterable


class TrainingError(Exception):
    """The root of the errors of training."""


class ConfigError(TrainingError):
    """Settings that cannot be, each problem with its value.

    Attributes:
        problems: one sentence each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class DataError(TrainingError):
    """The data cannot be read, or nothing can be learnt from them as they are."""
