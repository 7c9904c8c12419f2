"""Every content type that a caller may send or ask for.

| content type          | read                                                             | written               |
|-----------------------|------------------------------------------------------------------|-----------------------|
| application/json      | `{"instances": [row, …]}` (or `inputs`), or a bare array of rows | one object            |
| application/jsonlines | one row a line                                                   | one object a row      |
| text/csv              | one row a line; a first line of column names is recognised       | one prediction a line |

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

from inference.contract.errors import InputError, UnsupportedContentTypeError
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Rows

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
READABLE = (JSON, JSON_LINES, CSV)


@lru_cache(maxsize=256)  # callers send the same few headers again and again
def media_type(header: str | None, default: str = JSON) -> str:
    """The content type without its parameters, in lower case."""
    return (header or default).partition(";")[0].strip().lower() or default


@lru_cache(maxsize=256)
def accepted(header: str | None, request: str) -> str:
    """The type to answer in: the first of the Accept header that is spoken here; anything goes like the request.

    Raises:
        UnsupportedContentTypeError: none of the accepted types is spoken.
    """
    offers = [media_type(part, request) for part in (header or "*/*").split(",")]
    for offer in offers:
        if offer in ("*/*", "application/*"):
            return request
        if offer in READABLE:
            return offer
    raise UnsupportedContentTypeError(f"cannot answer in {header!r}: accept one of {', '.join(READABLE)}")


def decode(body: bytes, content_type: str, reader: RecordReader) -> Rows:
    """The typed rows of a request.

    Raises:
        UnsupportedContentTypeError: the content type is not in the table above.
        InputError: the body is not of that type, or a row does not fit the schema.
    """
    if content_type == JSON:
        return reader.read(_instances(_parse(body)))
    if content_type == JSON_LINES:
        lines = [line for line in body.splitlines() if line.strip()]
        return reader.read([_parse(line, row) for row, line in enumerate(lines)])
    if content_type == CSV:
        return reader.read_texts(*_csv(body, reader.input_names))
    raise UnsupportedContentTypeError(f"content type {content_type!r} is not one of {', '.join(READABLE)}")


def encode(predictions: Predictions, accept: str, *, version: str, latency_ms: float) -> bytes:
    """The answer's body in the accepted type (one of READABLE)."""
    if accept == CSV:
        answers = predictions.values if predictions.labels is None else predictions.labels
        return "".join(f"{answer}\n" for answer in list(answers)).encode()
    common = {"model_version": version, "latency_ms": latency_ms}
    if accept == JSON:
        plural: dict[str, Any] = {"predictions": predictions.values}
        if predictions.probabilities is not None:
            plural |= {"probabilities": predictions.probabilities, "labels": predictions.labels}
        return orjson.dumps(plural | common, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join(
        orjson.dumps(one | common, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        for one in _singular(predictions)
    )


def _singular(predictions: Predictions) -> list[dict[str, Any]]:
    if predictions.probabilities is None or predictions.labels is None:
        return [{"prediction": value} for value in predictions.values.tolist()]
    columns = zip(predictions.values.tolist(), predictions.probabilities, predictions.labels, strict=True)
    return [{"prediction": value, "probabilities": odds, "label": label} for value, odds, label in columns]


def _parse(body: bytes, row: int | None = None) -> Any:
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


def _csv(body: bytes, names: tuple[str, ...]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The cells, and the names of their columns."""
    try:
        text = body.decode("utf-8-sig")
        cells = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except UnicodeDecodeError as error:
        raise InputError(f"the CSV is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    except csv.Error as error:
        raise InputError(f"not valid CSV: {error}") from None
    if cells and (header := tuple(cell.strip() for cell in cells[0])) and set(names) <= set(header):
        return cells[1:], header
    return cells, names
