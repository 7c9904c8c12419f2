"""Errors of the embedded cloud: those that a user reads, and those that an AWS client parses."""

from collections.abc import Mapping


class CloudError(Exception):
    """The user's command cannot be carried out; the message is one line with the value and the remedy."""


class InstanceError(Exception):
    """An instance did not become healthy; the message becomes the endpoint's FailureReason."""


class JournalError(Exception):
    """What was done cannot be written down: the disk is full, or gone. The message is the operating system's reason."""


class AwsError(Exception):
    """An error in the shape of an AWS service.

    Args:
        code: the error's name, e.g. `ValidationException`; an empty one leaves only the HTTP status.
        message: what AWS's own message says, in its words where they are known.
        status: the HTTP status.
        details: further members of the error shape, e.g. `OriginalStatusCode`.
    """

    def __init__(self, code: str, message: str, status: int = 400, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.details = dict(details or {})


def invalid(message: str) -> AwsError:
    """A control plane call that SageMaker refuses."""
    return AwsError("ValidationException", message)
