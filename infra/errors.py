"""What the components refuse, each as text that a person can act on."""

from collections.abc import Iterable


class InfraError(Exception):
    """A stack that cannot be deployed as it is declared; the text says what to change."""


class SpecError(InfraError, ValueError):
    """A declaration that breaks a documented limit: every problem of it, each with its value, limit and source.

    Attributes:
        problems: one sentence each, in the order of the declaration.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))
