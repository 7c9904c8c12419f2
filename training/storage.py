"""Files here and in S3, by one name: a path or an `s3://bucket/key`. S3 is read by Arrow, with AWS's own variables.

AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL name another address than AWS's, such as the embedded cloud's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from training.errors import DataError, TrainingError

S3 = "s3://"


def is_s3(place: Path | str) -> bool:
    """Whether the name is one of S3's; a Path has lost one of the two slashes."""
    return str(place).startswith(("s3://", "s3:/"))


def name(place: Path | str) -> str:
    """The place as people write it."""
    text = str(place)
    return S3 + text.removeprefix("s3:").lstrip("/") if is_s3(text) else text


def filesystem(place: Path | str) -> tuple[Any, str]:
    """Arrow's file system for a place, and the place's path in it.

    Raises:
        DataError: it names no bucket.
    """
    from pyarrow import fs  # noqa: PLC0415  # only where files are read

    if not is_s3(place):
        return fs.LocalFileSystem(), str(Path(place).absolute())
    if not name(place).removeprefix(S3):
        raise DataError(f"{place}: names no bucket: write s3://<bucket>/<prefix>")
    options: dict[str, Any] = {}
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if address:
        parts = urlsplit(address)
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme, "force_virtual_addressing": False}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region:
        options["region"] = region
    return fs.S3FileSystem(**options), name(place).removeprefix(S3)


def opened(place: Path | str) -> Any:
    """A file for reading at any position."""
    system, path = filesystem(place)
    return system.open_input_file(path)


def state(place: Path | str) -> tuple[int, int] | None:
    """Size and time of the last change of a file here, to see whether somebody writes to it; None for objects."""
    if is_s3(place):
        return None  # an object is replaced as a whole
    found = Path(place).stat()
    return found.st_size, found.st_mtime_ns


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Turn what Arrow says of a missing object or a refusal into one line."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name(place)}: no such file") from None
    except OSError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{name(place)}: cannot be read: {lines[0][:300]}") from None


def read_bytes(place: Path | str) -> bytes | None:
    """The content of a file; None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    system, path = filesystem(place)
    with explained(place):
        try:
            with system.open_input_stream(path, compression=None) as stream:
                content: bytes = stream.read()
                return content
        except FileNotFoundError:
            return None


def write_bytes(place: Path | str, content: bytes) -> None:
    """Write a file, whole or not at all; its folder is made.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        if is_s3(place):
            system, path = filesystem(place)
            with system.open_output_stream(path, compression=None) as stream:
                stream.write(content)
            return
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise TrainingError(f"{name(place)}: cannot be written: {error.strerror or reason}") from None
