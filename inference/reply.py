"""What one caller gets: written when its predictions are there, sent together with the other answers of its turn.

Every sleeping thread of granian's that has to be woken costs the event loop some 10 µs, and the first of several
answers that are sent in one go wakes it for all.
"""

from __future__ import annotations

from time import perf_counter

from granian.rsgi import HTTPProtocol  # type: ignore[attr-defined]  # granian does not mark what it re-exports

from inference.contract import codecs
from inference.contract.predictions import Predictions
from inference.errors import Headers
from inference.telemetry import Recorder

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
VERSION = "x-sagestage-model-version"
LATENCY_MS = "x-sagestage-latency-ms"
JSON_HEADERS: Headers = [("content-type", codecs.JSON)]


class Reply:
    """The answer to one request in the making. Made for every request: plain for speed.

    `version` is the model's; `attributes` are the caller's custom attributes, which are given back.
    """

    __slots__ = (
        "_accept", "_attributes", "_content", "_headers", "_proto", "_recorder", "_started", "_took_s", "_version",
        "sent",
    )  # fmt: skip

    def __init__(
        self, proto: HTTPProtocol, accept: str, started: float, version: str, recorder: Recorder, attributes: str | None
    ) -> None:
        self._proto = proto
        self._accept = accept
        self._started = started
        self._version = version
        self._recorder = recorder
        self._attributes = attributes
        self.sent = False

    def write(self, predictions: Predictions) -> None:
        """Encode the answer; `send` may follow."""
        known = perf_counter()
        accept, version = self._accept, self._version
        latency_ms = int((known - self._started) * 1e6) / 1e3  # round() takes five times as long
        self._content = codecs.encode(predictions, accept, version=version, latency_ms=latency_ms)
        headers = JSON_HEADERS
        if accept != codecs.JSON:
            headers = [("content-type", accept), (VERSION, version), (LATENCY_MS, str(latency_ms))]
        if self._attributes is not None:
            headers = [*headers, (CUSTOM_ATTRIBUTES, self._attributes)]
        self._headers = headers
        self._took_s = perf_counter() - known

    def send(self) -> None:
        """Hand what was written to the caller's connection, and count the request."""
        self._proto.response_bytes(200, self._headers, self._content)
        self.sent = True
        self._recorder.good(perf_counter() - self._started, self._took_s)
