"""Every way in which serving fails: its HTTP status, its remedy, and the one function that turns it into an answer.

A start that fails raises `StartError` (one line on stderr, exit code 1); a request that fails raises one of the
others, or the contract's `InputError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from inference.contract.errors import ContractError, InputError, UnsupportedContentTypeError

Headers = tuple[tuple[str, str], ...]

MAX_TEXT = 500
"""Characters of an error text on the wire and in the log: a caller's 6 MB text must not come back whole."""


class StartError(Exception):
    """The server cannot start; the message is one line that names the value and the remedy."""


class ServingError(Exception):
    """A request cannot be answered. Subclasses say with which status, and what the caller can do."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server"
    remedy: ClassVar[str | None] = None
    retry_after_s: ClassVar[int | None] = None


class MalformedError(ServingError):
    """What a caller sent is not HTTP."""

    status = 400
    kind = "malformed"
    remedy = "send an HTTP/1.1 request"


class HeadTooLargeError(ServingError):
    """The headers are longer than is read."""

    status = 431
    kind = "malformed"
    remedy = "send fewer or shorter headers"


class NotFoundError(ServingError):
    """No such path."""

    status = 404
    kind = "not_found"
    remedy = "GET /ping or POST /invocations"


class MethodNotAllowedError(ServingError):
    """The path exists, but not for this method."""

    status = 405
    kind = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(f"{method} {path} is not allowed: use {allowed}")


class NotAcceptableError(ServingError):
    """The caller accepts no type that is spoken here."""

    status = 406
    kind = "not_acceptable"
    remedy = "leave the Accept header out to be answered in the type of the request"


class SlowRequestError(ServingError):
    """A part of the request, named by `what`, did not arrive in time."""

    status = 408
    kind = "slow_request"
    remedy = "send the whole request at once"

    def __init__(self, what: str, within_s: float) -> None:
        super().__init__(f"the {what} did not arrive within {within_s:g} s")


class PayloadTooLargeError(ServingError):
    """The body is larger than SAGEMAKER_MAX_PAYLOAD_IN_MB."""

    status = 413
    kind = "payload_too_large"
    remedy = "send fewer rows a request, or raise SAGEMAKER_MAX_PAYLOAD_IN_MB"


class UnsupportedMediaTypeError(ServingError):
    """The body is of a type that is not spoken here."""

    status = 415
    kind = "unsupported_media_type"
    remedy = "set the Content-Type header"


class ModelError(ServingError):
    """The model failed on rows that it should have answered."""

    status = 500
    kind = "model"
    remedy = "see the server's log; GET /ping says whether the model still gives its golden answers"


class OverloadedError(ServingError):
    """The queue is full."""

    status = 503
    kind = "overloaded"
    remedy = "retry after the time in Retry-After, or add instances"
    retry_after_s = 1


class NotReadyError(ServingError):
    """The model is not, or no longer, fit to answer."""

    status = 503
    kind = "not_ready"
    remedy = "wait until GET /ping answers 200"
    retry_after_s = 1


class StoppingError(ServingError):
    """The server was told to stop and its time to drain is over."""

    status = 503
    kind = "stopping"
    remedy = "send the request to another instance"
    retry_after_s = 1


class CallerGoneError(ServingError):
    """The caller closed its connection before the answer was there; nobody reads the answer."""

    status = 499
    kind = "caller_gone"
    remedy = "wait for the answer"


class ModelNotFoundError(ServingError):
    """No model of that name is loaded."""

    status = 404
    kind = "not_found"
    remedy = "POST /models loads one"


class ModelLoadedError(ServingError):
    """A model of that name is loaded already."""

    status = 409
    kind = "other"
    remedy = "DELETE /models/NAME unloads it"


class NoMemoryError(ServingError):
    """The model does not fit into the memory that models may take."""

    status = 507
    kind = "other"
    remedy = "unload other models, or raise SAGESTAGE_MODELS_MEMORY_MB"


class DeadlineError(ServingError):
    """The answer was not there before the deadline."""

    status = 504
    kind = "deadline"
    remedy = "send fewer rows a request, or raise SAGEMAKER_MODEL_SERVER_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it goes over the wire: status, headers and a JSON body, and its text for the log."""

    status: int
    headers: Headers
    body: bytes
    text: str
    kind: str = "server"


def problem(error: Exception) -> Problem:
    """The answer for an error; what is not an error of ours is a 500 that gives nothing away."""
    text = _line(str(error))
    content: dict[str, Any] = {}
    remedy: str | None = ModelError.remedy
    kind = "server"
    headers: Headers = (("content-type", "application/json"),)
    match error:
        case UnsupportedContentTypeError():
            status, remedy = UnsupportedMediaTypeError.status, UnsupportedMediaTypeError.remedy
            kind = UnsupportedMediaTypeError.kind
        case InputError():
            status, remedy, kind = 400, None, "input"
            content = {"row": error.row, "column": error.column}
        case ServingError():
            status, remedy, kind = error.status, error.remedy, error.kind
            if error.retry_after_s is not None:
                headers += (("retry-after", str(error.retry_after_s)),)
            if isinstance(error, MethodNotAllowedError):
                headers += (("allow", error.allowed),)
        case ContractError():
            status = ModelError.status
        case _:
            status, text = 500, "the server failed on this request"
    content = {"error": text, "remedy": remedy} | content
    body = orjson.dumps({name: value for name, value in content.items() if value is not None})
    return Problem(status, headers, body, _line(str(error)) or type(error).__name__, kind)


def _line(text: str) -> str:
    """One line that quotes no more than a part of what a caller sent."""
    line = text.replace("\r", " ").replace("\n", " ")
    return line if len(line) <= MAX_TEXT else f"{line[:MAX_TEXT]}…"
