"""Every request that is not answered as its caller wished: told to the caller, counted, and logged once."""

from __future__ import annotations

from time import perf_counter

from inference.contract.errors import ContractError
from inference.errors import OverloadedError, ServingError, problem
from inference.exchange import Exchange
from inference.logs import log
from inference.telemetry import Recorder

INFERENCE_ID = "x-amzn-sagemaker-inference-id"
OVERLOADED = problem(OverloadedError("more requests or rows are waiting than the queue holds"))


class Refusals:
    """Turns errors into answers. Overload is logged as a sum, so that refusing stays cheap."""

    def __init__(self) -> None:
        self._overloads = 0

    def answer(self, exchange: Exchange, error: Exception, recorder: Recorder) -> None:
        """Answer, count and log."""
        if isinstance(error, OverloadedError):
            answer = OVERLOADED
            self._overloads += 1
        else:
            answer = problem(error)
            fields = {
                "status": answer.status,
                "path": exchange.path,
                "error": answer.text,
                "inference_id": exchange.headers.get(INFERENCE_ID),
            }
            if isinstance(error, ServingError | ContractError):
                log.warning("refused", extra=fields)
            else:
                log.error("a fault of the server", extra=fields, exc_info=error)
        recorder.failed(answer.kind)
        recorder.answered(answer.status, perf_counter() - exchange.started)
        exchange.respond(answer.status, answer.headers, answer.body)

    def tell(self) -> None:
        """Log how many requests the full queue refused since the last time."""
        if self._overloads:
            log.warning("refused: overloaded", extra={"status": OVERLOADED.status, "count": self._overloads})
            self._overloads = 0
