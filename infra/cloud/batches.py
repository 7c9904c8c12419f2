"""Batch transform as pure decisions: how a file is split into requests, what of a record is sent, joined and kept.

Source: SageMaker developer guide, 'Use batch transform' and 'Associate prediction results with input records';
CreateTransformJob.
"""

import csv
import io
import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
DEFAULT_PAYLOAD_MB, MOST_MB = 6, 100
JSON_TYPES = ("application/json", "application/jsonlines")
CSV_TYPE = "text/csv"
OUTPUT, INPUT = "SageMakerOutput", "SageMakerInput"
_RECORDIO_MAGIC = 0xCED7230A
_STEP = re.compile(
    r"\.(?P<name>[A-Za-z_][\w-]*)|\.(?P<every>\*)|\.?\[(?P<inside>[^\]]+)\]",
)


class BatchError(ValueError):
    """A file that cannot be transformed as it is asked; the message says why."""


@dataclass(frozen=True)
class Processing:
    """DataProcessing: JSONPaths of what is sent and of what is kept, and whether the input stands before the output."""

    sent: str = "$"
    kept: str = "$"
    joined: bool = False

    @property
    def idle(self) -> bool:
        """Whether nothing is filtered or joined."""
        return self == Processing()


def records(data: bytes, split: str) -> list[bytes]:
    """The records of a file, in order; the whole file where it is not split.

    Raises:
        BatchError: it is not in the format that it is to be split by.
    """
    match split:
        case "Line":
            return [line for line in data.splitlines() if line.strip()]
        case "RecordIO":
            return list(_recordio(data))
        case "TFRecord":
            return list(_tfrecords(data))
    return [data]


def payloads(parts: Sequence[bytes], split: str, *, single: bool, limit: int) -> list[list[bytes]]:
    """The records of each request: one, or as many as fit.

    Args:
        parts: the records.
        split: the SplitType.
        single: BatchStrategy SingleRecord.
        limit: bytes of a request; 0 is none.

    Raises:
        BatchError: a record alone is larger than the limit.
    """
    made: list[list[bytes]] = []
    room = 0
    for part in parts:
        size = len(part) + (1 if split == "Line" else 0)
        if limit and len(part) > limit:
            raise BatchError(f"a record of {len(part)} bytes is larger than MaxPayloadInMB allows ({limit} bytes)")
        if single or split == "None" or not made or (limit and size > room):
            made.append([])
            room = limit
        made[-1].append(part)
        room -= size
    return made


def body(parts: Sequence[bytes], split: str) -> bytes:
    """A request of records."""
    return b"\n".join(parts) + b"\n" if split == "Line" and len(parts) > 1 else b"".join(parts)


def assembled(answers: Sequence[bytes], how: str) -> bytes:
    """A file of answers, in the order of their requests."""
    if how != "Line":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def filtered(parts: Sequence[bytes], content_type: str, path: str) -> list[bytes]:
    """What of each record is sent.

    Raises:
        BatchError: a record has nothing at the path, or is not of its type.
    """
    if path == "$":
        return list(parts)
    return [_written(select(_read(part, content_type), path), content_type) for part in parts]


def joined(parts: Sequence[bytes], answer: bytes, types: tuple[str, str], how: Processing) -> bytes:
    """An answer with what DataProcessing makes of it, a record a line.

    Args:
        parts: the records of the request, unfiltered.
        answer: what came for them.
        types: of the input and of the output.
        how: what is joined and kept.

    Raises:
        BatchError: there are not as many answers as records, or they cannot be joined.
    """
    come, go = types
    outputs = [answer] if go == "application/json" or len(parts) == 1 else [x for x in answer.splitlines() if x.strip()]
    if len(outputs) != len(parts):
        raise BatchError(f"{len(parts)} records were sent and {len(outputs)} came back: they cannot be joined")
    made = []
    for part, output in zip(parts, outputs, strict=True):
        value = _read(output, go)
        if how.joined:
            value = _join(_read(part, come), value)
        made.append(_written(select(value, how.kept), go))
    return b"\n".join(made)


def select(value: Any, path: str) -> Any:
    """What stands at a JSONPath (the subset that SageMaker supports).

    Raises:
        BatchError: nothing stands there, or the path is none.
    """
    if not path.startswith("$"):
        raise BatchError(f"JSONPath {path!r} must begin with $")
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise BatchError(f"JSONPath {path!r} cannot be read at {path[position:]!r}")
        position = step.end()
        try:
            value = _at(value, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BatchError(f"there is nothing at JSONPath {path!r}") from error
    return value


def _at(value: Any, step: re.Match[str]) -> Any:
    if step["name"]:
        return value[step["name"]]
    inside = "*" if step["every"] else step["inside"].strip()
    if inside == "*":
        return list(value.values()) if isinstance(value, dict) else list(value)
    if inside[0] in "'\"":
        names = [part.strip().strip("'\"") for part in inside.split(",")]
        return value[names[0]] if len(names) == 1 else {name: value[name] for name in names}
    if isinstance(value, dict):
        raise TypeError("an index of an object")
    if ":" in inside:
        first, _, last = inside.partition(":")
        return list(value)[int(first) if first else None : int(last) if last else None]
    numbers = [int(part) for part in inside.split(",")]
    return value[numbers[0]] if len(numbers) == 1 else [value[number] for number in numbers]


def _read(part: bytes, content_type: str) -> Any:
    try:
        if content_type == CSV_TYPE:
            return next(csv.reader(io.StringIO(part.decode())), [])
        return json.loads(part)
    except ValueError as error:
        raise BatchError(f"a record is not {content_type}: {part[:80]!r}") from error


def _written(value: Any, content_type: str) -> bytes:
    if content_type != CSV_TYPE:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(value if isinstance(value, list) else [value])
    return buffer.getvalue().encode()


def _join(given: Any, answer: Any) -> Any:
    if isinstance(given, list) and isinstance(answer, list):
        return [*given, *answer]
    if isinstance(given, dict):
        return {**given, OUTPUT: answer}
    return {INPUT: given, OUTPUT: answer}


def _recordio(data: bytes) -> Iterator[bytes]:
    """MXNet's RecordIO: a magic number, a length whose upper three bits mark parts, the content, padding to four."""
    position = 0
    while position < len(data):
        try:
            magic, head = struct.unpack_from("<II", data, position)
        except struct.error as error:
            raise BatchError("the file ends within a RecordIO record") from error
        size = head & 0x1FFF_FFFF
        end = position + 8 + (size + 3) // 4 * 4
        if magic != _RECORDIO_MAGIC or end > len(data):
            raise BatchError(f"there is no RecordIO record at byte {position}")
        yield data[position:end]
        position = end


def _tfrecords(data: bytes) -> Iterator[bytes]:
    """TFRecord: a length of eight bytes, its checksum, the content, its checksum."""
    position = 0
    while position < len(data):
        try:
            (size,) = struct.unpack_from("<Q", data, position)
        except struct.error as error:
            raise BatchError("the file ends within a TFRecord") from error
        end = position + 16 + size
        if end > len(data):
            raise BatchError(f"there is no TFRecord at byte {position}")
        yield data[position:end]
        position = end
