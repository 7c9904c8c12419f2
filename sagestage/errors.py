"""What a user of the command line can do something about."""

from __future__ import annotations


class SagestageError(Exception):
    """A user's mistake or a machine's refusal; the message is one line with the value and the remedy."""

    exit_code = 1


class ChangesError(SagestageError):
    """A preview found changes where none were expected."""

    exit_code = 2


class GateError(SagestageError):
    """A model missed its gate: it is not deployed."""

    exit_code = 3
