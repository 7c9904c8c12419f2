"""Every request that is not answered as its caller wished: told to the caller, counted, and logged once."""

from __future__ import annotations

from granian.rsgi import (  # type: ignore[attr-defined]  # granian does not mark what it re-exports
    HTTPProtocol,
    ProtocolClosed,
    ProtocolError,
    Scope,
)

from inference.contract.errors import ContractError
from inference.errors import CallerGoneError, OverloadedError, ServingError, problem
from inference.logs import log
from inference.telemetry import Recorder

INFERENCE_ID = "x-amzn-sagemaker-inference-id"
OVERLOADED = problem(OverloadedError("more requests or rows are waiting than the queue holds"))


class Refusals:
    """Turns errors into answers. Overload is logged as a sum, so that refusing stays cheap."""

    def __init__(self) -> None:
        self._overloads = 0

    def answer(self, scope: Scope, proto: HTTPProtocol, error: Exception, recorder: Recorder) -> int:
        """Answer, count and log; the status."""
        if isinstance(error, OverloadedError):
            recorder.failed(error.kind)
            self._overloads += 1
            proto.response_bytes(OVERLOADED.status, OVERLOADED.headers, OVERLOADED.body)
            return OVERLOADED.status
        cut = isinstance(error, ProtocolClosed | ProtocolError)
        if cut:
            error = CallerGoneError("the caller closed its connection in the middle of its body")
        answer = problem(error)
        recorder.failed(answer.kind)
        fields = {
            "status": answer.status,
            "path": scope.path,
            "error": answer.text,
            "inference_id": scope.headers.get(INFERENCE_ID),
        }
        if isinstance(error, ServingError | ContractError):
            log.warning("refused", extra=fields)
        else:
            log.error("a fault of the server", extra=fields, exc_info=error)
        if not cut:  # else there is nobody to answer
            proto.response_bytes(answer.status, answer.headers, answer.body)
        return answer.status

    def tell(self) -> None:
        """Log how many requests the full queue refused since the last time."""
        if self._overloads:
            log.warning("refused: overloaded", extra={"status": OVERLOADED.status, "count": self._overloads})
            self._overloads = 0
