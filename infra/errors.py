"""What the components refuse, each as text that a person can act on."""

from collections.abc import Iterable


class InfraError(Exception):
    """A stack that cannot be deployed as it is declared; the text says what to change."""


class SpecError(InfraError, ValueError):
    """A declaration that breaks a documented limit: every problem of it, each with its value, limit and source.

    As text: the problem, or their number and a line for each.

    Attributes:
        problems: one sentence each, in the order of the declaration.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(self.problems[0] if len(self.problems) == 1 else f"{len(self.problems)} problems:{lines}")
