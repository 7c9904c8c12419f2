"""AWS's event stream: how InvokeEndpointWithResponseStream carries an answer in parts.

A message is its length, its headers' length, a checksum of both, headers, payload, and a checksum of all of it.
Source: Amazon Transcribe developer guide, 'Event stream encoding'.
"""

import struct
import zlib
from collections.abc import Mapping

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_TEXT = 7  # the type of a header whose value is text
_OVERHEAD = 16


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with text headers."""
    packed = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _TEXT, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", _OVERHEAD + len(packed) + len(payload), len(packed))
    head = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return head + struct.pack("!I", zlib.crc32(head))


def part(payload: bytes) -> bytes:
    """A PayloadPart event."""
    headers = {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    return message(headers, payload)


def failure(code: str, text: str) -> bytes:
    """An exception in the middle of a stream: ModelStreamError or InternalStreamFailure."""
    headers = {":message-type": "exception", ":exception-type": code, ":content-type": "application/json"}
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return message(headers, f'{{"Message":"{escaped}","ErrorCode":"{code}"}}'.encode())
