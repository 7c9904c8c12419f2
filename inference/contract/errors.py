"""What can be wrong with an input or an archive; every message names the value and the remedy."""

from __future__ import annotations


class ContractError(Exception):
    """The root of the errors of the contract."""


class InputError(ContractError):
    """A request's rows do not fit the schema.

    `problem` is the fault itself; `row` counts from 0 within the request; `column` is the column's name. Either
    may be None when the fault is not in one row or column.
    """

    def __init__(self, problem: str, *, row: int | None = None, column: str | None = None) -> None:
        self.problem = problem
        self.row = row
        self.column = column
        where = ", ".join(
            part for part in (f"row {row}" if row is not None else "", f"column {column!r}" if column else "") if part
        )
        super().__init__(f"{where}: {problem}" if where else problem)


class UnsupportedContentTypeError(InputError):
    """The content type, or every type that the caller accepts, is none that the codecs speak."""


class ArtifactError(ContractError):
    """An archive is damaged, hostile, from another format, or does not say what it holds."""
