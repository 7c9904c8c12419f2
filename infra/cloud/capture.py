"""Data capture: what went in and what came out, as JSON Lines in the embedded S3."""

import asyncio
import base64
import json
import logging
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

FLUSH_BYTES = 1 << 20
FLUSH_AFTER_S = 1.5
CONTENT_TYPE = "application/jsonlines"

Write = Callable[[str, str, bytes, str], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchange:
    """One answered invocation. Bodies are what was on the wire."""

    event_id: str
    moment: datetime
    request: bytes
    request_type: str
    response: bytes
    response_type: str
    inference_id: str | None = None


@dataclass(frozen=True)
class CaptureConfig:
    """DataCaptureConfig, read once. `percent` is the share of invocations, 0 to 100; `modes` is of Input and Output."""

    bucket: str
    prefix: str
    percent: int
    modes: frozenset[str]
    csv_types: frozenset[str]
    json_types: frozenset[str]

    @classmethod
    def parse(cls, config: Mapping[str, Any] | None) -> "CaptureConfig | None":
        """From the API's structure; None where capture is absent or not enabled."""
        if config is None or not config.get("EnableCapture", True):
            return None
        modes: set[str] = set()
        for option in config["CaptureOptions"]:
            mode = option["CaptureMode"]
            modes |= {"Input", "Output"} if mode == "InputAndOutput" else {mode}
        address = urlsplit(config["DestinationS3Uri"])
        header = config.get("CaptureContentTypeHeader", {})
        return cls(
            bucket=address.netloc,
            prefix=address.path.strip("/"),
            percent=config["InitialSamplingPercentage"],
            modes=frozenset(modes),
            csv_types=frozenset(header.get("CsvContentTypes", ())),
            json_types=frozenset(header.get("JsonContentTypes", ())),
        )


def record(config: CaptureConfig, exchange: Exchange) -> bytes:
    """The documented record, one line without its end."""
    data: dict[str, Any] = {}
    if "Input" in config.modes:
        data["endpointInput"] = _side(config, "INPUT", exchange.request, exchange.request_type)
    if "Output" in config.modes:
        data["endpointOutput"] = _side(config, "OUTPUT", exchange.response, exchange.response_type)
    metadata = {
        "eventId": exchange.event_id,
        "inferenceTime": exchange.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if exchange.inference_id is not None:
        metadata["inferenceId"] = exchange.inference_id
    line = {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()


def _side(config: CaptureConfig, mode: str, body: bytes, content_type: str) -> dict[str, str]:
    kind = content_type.partition(";")[0].strip().lower()
    text, encoding = None, "BASE64"  # whatever is not declared, or is not text after all
    if kind in config.csv_types or kind in config.json_types:
        try:
            text = body.decode()
            encoding = "CSV" if kind in config.csv_types else "JSON"
        except UnicodeDecodeError:
            encoding = "BASE64"
    return {
        "observedContentType": content_type,
        "mode": mode,
        "data": base64.b64encode(body).decode() if text is None else text,
        "encoding": encoding,
    }


def object_key(config: CaptureConfig, endpoint: str, variant: str, moment: datetime, name: str) -> str:
    """`{prefix}/{endpoint}/{variant}/yyyy/mm/dd/hh/{file}.jsonl`, in UTC."""
    parts = [config.prefix, endpoint, variant, moment.strftime("%Y/%m/%d/%H"), f"{name}.jsonl"]
    return "/".join(part for part in parts if part)


class Capture:
    """Samples the exchanges of one endpoint and writes them, off the path of the requests.

    Exchanges are kept until there are `FLUSH_BYTES` of them or the oldest is `FLUSH_AFTER_S` old.
    """

    def __init__(self, config: CaptureConfig, endpoint: str, write: Write, draw: random.Random) -> None:
        self.config = config
        self.dropped = 0
        self._endpoint = endpoint
        self._write = write
        self._draw = draw
        self._pending: defaultdict[tuple[str, str], list[Exchange]] = defaultdict(list)
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writers: set[asyncio.Task[None]] = set()

    def sampled(self) -> bool:
        """Draw whether the next exchange is captured."""
        return self._draw.random() * 100 < self.config.percent

    def add(self, variant: str, exchange: Exchange) -> None:
        """Take an exchange that was drawn."""
        self._pending[variant, exchange.moment.strftime("%Y%m%d%H")].append(exchange)
        self._bytes += len(exchange.request) + len(exchange.response)
        if self._bytes >= FLUSH_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._flush)

    async def close(self) -> None:
        """Write what is pending, and wait for it."""
        self._flush()
        if self._writers:
            await asyncio.wait(self._writers)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, defaultdict(list)
        self._bytes = 0
        for (variant, _), exchanges in pending.items():
            task = asyncio.get_running_loop().create_task(self._store(variant, exchanges))
            self._writers.add(task)
            task.add_done_callback(self._writers.discard)

    async def _store(self, variant: str, exchanges: Sequence[Exchange]) -> None:
        try:
            await asyncio.to_thread(self._store_now, variant, exchanges)
        except Exception:  # a missing bucket, as on AWS, costs the records and never a request
            self.dropped += len(exchanges)
            log.exception("%d captured records of %s are lost", len(exchanges), self._endpoint)

    def _store_now(self, variant: str, exchanges: Sequence[Exchange]) -> None:
        body = b"".join(record(self.config, exchange) + b"\n" for exchange in exchanges)
        moment = exchanges[0].moment
        name = f"{moment:%M-%S}-{moment.microsecond // 1000:03d}-{uuid.uuid4()}"
        key = object_key(self.config, self._endpoint, variant, moment, name)
        self._write(self.config.bucket, key, body, CONTENT_TYPE)


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
