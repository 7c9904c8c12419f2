"""Every content type that a caller may send or ask for.

| content type          | read                                                             | written               |
|-----------------------|------------------------------------------------------------------|-----------------------|
| application/json      | `{"instances": [row, …]}` (or `inputs`), or a bare array of rows | one object            |
| application/jsonlines | one row a line                                                   | one object a row      |
| text/csv              | one row a line; a first line of column names is recognised       | one prediction a line |
| application/x-npy     | numbers, shape (rows, columns), in order; NaN is a missing value | shape (rows,)         |
| Arrow stream, Parquet | a table with the columns by name; null and NaN are missing       | a column `prediction` |

A JSON row is a record `{"column": value, …}`, an array of values in the order of `Schema.inputs`, or, with its past,
`{"row": record, "history": [records, oldest first]}`. A history's records carry the target too. Null is a missing
value; in CSV an empty cell is one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from inference.contract import npy
from inference.contract.errors import InputError, UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Rows

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
READABLE = (JSON, JSON_LINES, CSV, NPY, ARROW, PARQUET)
SPELLINGS = {"application/x-ndjson": JSON_LINES, "application/jsonl": JSON_LINES, "application/x-parquet": PARQUET}
"""Other names of the same types."""


@lru_cache(maxsize=256)  # callers send the same few headers again and again
def media_type(header: str | None, default: str = JSON) -> str:
    """The content type without its parameters, in lower case."""
    given = (header or default).partition(";")[0].strip().lower() or default
    return SPELLINGS.get(given, given)


@lru_cache(maxsize=256)
def csv_header(header: str | None) -> bool | None:
    """Whether a Content-Type says that the CSV has a line of names (RFC 4180's `header`); None when it does not say."""
    for parameter in (header or "").lower().split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "header":
            return {"present": True, "absent": False}.get(value.strip('" '))
    return None


def accepted(header: str | None, request: str) -> str:
    """The type to answer in: of those in the Accept header the one that is spoken here and has the highest weight.

    The weight is `q` (RFC 9110, 12.5.1), the first wins among equals, and `*/*` means the type of the request.

    Raises:
        UnsupportedContentTypeError: none of the accepted types is spoken.
    """
    best, highest = None, 0.0
    for part in (header or "*/*").split(","):
        offer, weight = media_type(part, request), _weight(part)
        if offer in ("*/*", "application/*"):
            offer = request
        if offer in READABLE and weight > highest:
            best, highest = offer, weight
    if best is not None:
        return best
    raise UnsupportedContentTypeError(f"cannot answer in {header!r}: accept one of {', '.join(READABLE)}")


def _weight(part: str) -> float:
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def instances(body: bytes | memoryview, content_type: str) -> Sequence[Any]:
    """The rows of a JSON or JSON Lines body as they were sent, not read yet.

    Raises:
        InputError: the body is not of that type.
    """
    if content_type == JSON:
        parsed = _parse(body)
        if type(parsed) is dict and type(rows := parsed.get("instances")) is list:  # as most callers send it
            return rows
        return _instances(parsed)
    lines = [line for line in bytes(body).splitlines() if line.strip()]
    return [_parse(line, row) for row, line in enumerate(lines)]


def unsupported(content_type: str) -> UnsupportedContentTypeError:
    """What to raise for a body of another type."""
    return UnsupportedContentTypeError(f"content type {content_type!r} is not one of {', '.join(READABLE)}")


def decode(body: bytes | memoryview, content_type: str, reader: RecordReader, *, header: bool | None = None) -> Rows:
    """The typed rows of a request. `header` says whether a CSV begins with a line of names; None looks at the line.

    Raises:
        UnsupportedContentTypeError: the content type is not in the table above.
        InputError: the body is not of that type, or a row does not fit the schema.
    """
    if content_type in (JSON, JSON_LINES):
        return reader.read(instances(body, content_type))
    if content_type == CSV:
        return reader.read_texts(*_csv(body, reader.input_names, header=header))
    if content_type == NPY:
        return reader.read_matrix(npy.read(body))
    if content_type in (ARROW, PARQUET):
        from inference.contract import arrow  # noqa: PLC0415  # pyarrow: only where it is used

        return arrow.read(body, reader, parquet=content_type == PARQUET)
    raise unsupported(content_type)


def encode(predictions: Predictions, accept: str, *, version: str, latency_ms: float) -> bytes:
    """The answer's body in the accepted type (one of READABLE)."""
    if accept == CSV:
        answers = predictions.values if predictions.labels is None else predictions.labels
        return "".join(f"{answer}\n" for answer in list(answers)).encode()
    if accept == NPY:
        return npy.write(predictions.values)
    if accept in (ARROW, PARQUET):
        from inference.contract import arrow  # noqa: PLC0415  # as above

        return arrow.write(predictions, parquet=accept == PARQUET)
    if accept == JSON:
        plural: dict[str, Any] = {"predictions": predictions.values}
        if predictions.probabilities is not None:
            plural |= {"probabilities": predictions.probabilities, "labels": predictions.labels}
        plural["model_version"] = version
        plural["latency_ms"] = latency_ms
        return orjson.dumps(plural, option=orjson.OPT_SERIALIZE_NUMPY)
    common = {"model_version": version, "latency_ms": latency_ms}
    return b"".join(
        orjson.dumps(one | common, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        for one in _singular(predictions)
    )


def _singular(predictions: Predictions) -> list[dict[str, Any]]:
    if predictions.probabilities is None or predictions.labels is None:
        return [{"prediction": value} for value in predictions.values.tolist()]
    columns = zip(predictions.values.tolist(), predictions.probabilities, predictions.labels, strict=True)
    return [{"prediction": value, "probabilities": odds, "label": label} for value, odds, label in columns]


def _parse(body: bytes | memoryview, row: int | None = None) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error}", row=row) from None


def _instances(parsed: Any) -> Sequence[Any]:
    if isinstance(parsed, dict):
        for name in ("instances", "inputs"):
            if name in parsed:
                parsed = parsed[name]
                break
        else:
            raise InputError(f"the object has no 'instances' (nor 'inputs'); it has {', '.join(parsed) or 'nothing'}")
    if not isinstance(parsed, list):
        raise InputError(f"'instances' must be an array of rows, got {type(parsed).__name__}")
    return parsed


def _csv(
    body: bytes | memoryview, names: tuple[str, ...], *, header: bool | None
) -> tuple[list[list[str]], tuple[str, ...]]:
    """The cells, and the names of their columns."""
    try:
        text = str(body, "utf-8-sig")
        cells = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except UnicodeDecodeError as error:
        raise InputError(f"the CSV is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except csv.Error as error:
        raise InputError(f"not valid CSV: {error}") from None
    first = tuple(cell.strip() for cell in cells[0]) if cells else ()
    if header or (header is None and set(names) <= set(first)):
        if missing := [name for name in names if name not in first]:
            raise InputError(f"the header lacks {', '.join(missing)}")
        return cells[1:], first
    return cells, names
