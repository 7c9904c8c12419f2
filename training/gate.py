"""What a model must reach before it may be deployed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inference.contract.metrics import OF_TASK, Metric
from inference.contract.schema import Frozen, Task
from training.errors import ConfigError

_TEXT = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.IGNORECASE)


class Gate(Frozen):
    """A metric on the held-out rows and the threshold that it must meet."""

    metric: Metric
    comparison: Literal[">=", "<=", ">", "<"]
    threshold: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read a text such as `r2>=0.8`.

        Raises:
            ConfigError: not of that form, or no such metric.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ConfigError([f"gate {text!r} is not of the form METRIC>=NUMBER, such as r2>=0.8"])
        name, comparison, threshold = match.group(1).lower(), match.group(2), float(match.group(3))
        known = tuple(Metric)
        if name not in known:
            raise ConfigError([f"gate {text!r}: no metric is named {name!r}; there are {', '.join(known)}"])
        return cls.model_validate({"metric": name, "comparison": comparison, "threshold": threshold})

    def met(self, value: float | None) -> bool:
        """Whether the value meets the threshold; an undefined metric never does."""
        if value is None or math.isnan(value):
            return False
        match self.comparison:
            case ">=":
                return value >= self.threshold
            case "<=":
                return value <= self.threshold
            case ">":
                return value > self.threshold
            case "<":
                return value < self.threshold

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Check:
    """One gate and what the model reached; None where the metric is undefined on the held-out rows."""

    gate: Gate
    value: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The deployed model on the same rows.

    Attributes:
        gain: by which share of the champion's loss (mean squared error, or log loss) ours is lower; with its 95 %
            interval from `low` to `high`. None where the champion makes no error.
        tolerance: the share by which the loss may be higher.
    """

    champion: str
    rows: int
    tolerance: float
    gain: float | None
    low: float | None
    high: float | None

    @property
    def passed(self) -> bool:
        """Whether the interval says that we are not worse by more than the tolerance."""
        return self.low is not None and self.low >= -self.tolerance

    def __str__(self) -> str:
        if self.gain is None or self.low is None or self.high is None:
            return f"champion {self.champion} makes no error on {self.rows} rows: nothing to compare with"
        side = "lower" if self.gain >= 0.0 else "higher"
        return (
            f"loss {abs(self.gain):.1%} {side} than champion {self.champion}'s on the same {self.rows} rows"
            f" [{self.low:+.1%}, {self.high:+.1%}], {self.tolerance:.0%} worse is tolerated"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of all gates, and of the comparison with a champion; without any everything passes."""

    checks: tuple[Check, ...]
    against: Comparison | None = None

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(check.passed for check in self.checks) and (self.against is None or self.against.passed)

    @property
    def reason(self) -> str:
        """The gates that were missed, each with the value reached; empty when all were met."""
        missed = [
            f"{check.gate} missed: {'undefined on the held-out rows' if check.value is None else f'{check.value:.4g}'}"
            for check in self.checks
            if not check.passed
        ]
        if self.against is not None and not self.against.passed:
            missed.append(f"worse than the champion may be: {self.against}")
        return "; ".join(missed)


def judge(gates: Sequence[Gate], metrics: Mapping[str, float]) -> Verdict:
    """Compare metrics with the gates."""
    values = [(gate, metrics.get(gate.metric)) for gate in gates]
    return Verdict(tuple(Check(gate, value, gate.met(value)) for gate, value in values))


def check_task(gates: Sequence[Gate], task: Task) -> None:
    """Raise ConfigError for gates on metrics that the task does not have."""
    known = OF_TASK[task]
    if problems := [
        f"gate {gate}: a {task} has no {gate.metric}; it has {', '.join(known)}"
        for gate in gates
        if gate.metric not in known
    ]:
        raise ConfigError(problems)
