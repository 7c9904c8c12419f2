"""The one error that users of the engine see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.engine.result import Result

CLI_HINT = "the real CLI has it: `sagestage pulumi -- up --stack {stack}`"


class EngineError(Exception):
    """A user error: its message is one line that names the value at fault and the remedy.

    `result` holds what was done (and saved) before an operation failed, where there was an operation.
    """

    def __init__(self, message: str, *, result: Result | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.result = result


def unsupported(what: str) -> EngineError:
    """The refusal of something that Pulumi has and this engine has not: named, never ignored."""
    return EngineError(
        f"{what}: the embedded engine does not do this; run the stack with the real CLI "
        f"(`sagestage pulumi -- up --stack …`) or leave it out"
    )


class ProviderError(Exception):
    """A provider's own words about a resource. Becomes part of the EngineError at the operation's end.

    `uncertain`: whether the change was made is not known (nothing answered): it stays recorded as under way, and the
    next operation looks.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain
