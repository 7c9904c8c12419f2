"""Which part of the captured traffic: a span of time, the files that may have records of it, and their variants.

Capture writes `{prefix}/{endpoint}/{variant}/yyyy/mm/dd/hh/{file}.jsonl`; the hour is UTC's. Clocks disagree, and a
file may be written after its records' hour is over, so the hours beside the window are looked into too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from training import storage
from training.errors import ConfigError, DataError

_FILE = re.compile(r"/([^/]+)/(\d{4})/(\d\d)/(\d\d)/(\d\d)/[^/]+\.jsonl?(\.gz)?$")
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
LONGEST_S = 3_660 * 86_400.0
"""Ten years: longer than anybody keeps what was captured."""
MARGIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to before `end`, both in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ConfigError([f"the window ends ({self.end:%FT%TZ}) before it begins ({self.start:%FT%TZ})"])

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    def earlier(self, seconds: float) -> Window:
        """As long, so much earlier."""
        by = timedelta(seconds=seconds)
        return Window(self.start - by, self.end - by)

    def hours(self) -> Iterator[datetime]:
        """The hours whose files may have records of it."""
        hour = (self.start - MARGIN).replace(minute=0, second=0, microsecond=0)
        while hour < self.end + MARGIN:
            yield hour
            hour += timedelta(hours=1)

    def span(self, made: Any, identity: str, spans: int) -> int:
        """Which of so many equal spans a record lies in; one that lies outside counts in the nearest.

        Capture tells whole seconds: the ids deal the records of one second over it.
        """
        try:
            at = datetime.fromisoformat(made)
        except (TypeError, ValueError):
            return 0
        aside = zlib.crc32(identity.encode()) / (1 << 32)
        after = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - self.start).total_seconds() + aside
        return min(max(int(after / self.seconds * spans), 0), spans - 1)

    def __str__(self) -> str:
        return f"{self.start:%F %T} to {self.end:%F %T} UTC"


@dataclass(frozen=True)
class File:
    """One capture file. `bytes` is its size, `prefix` how the times of its hour begin."""

    path: str
    variant: str
    hour: datetime
    bytes: int

    @cached_property
    def prefix(self) -> str:
        """Such as 2026-01-31T12:."""
        return f"{self.hour:%Y-%m-%dT%H:}"


def seconds(text: str) -> float:
    """How long `1h`, `90m`, `30s` or `1d` is.

    Raises:
        ConfigError: it is none of these.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    length = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
    if not 0.0 < length <= LONGEST_S:
        raise ConfigError([f"a length of time is written 1h, 90m, 30s or 1d, at most 3660d, got {text!r}"])
    return length


def moment(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC.

    Raises:
        ConfigError: it is not one.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError([f"a time is written 2026-01-31T12:00:00Z, got {text!r}"]) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def files(captured: Path | str, window: Window) -> list[File]:
    """The files of the window, in the order of their names.

    Args:
        captured: the folder or s3:// prefix that holds a folder for each variant.
        window: the span of time.

    Raises:
        DataError: the place is gone or cannot be read.
    """
    from pyarrow import fs  # noqa: PLC0415  # loads AWS's libraries

    system, root = storage.filesystem(captured)
    shown, root = storage.name(captured), root.rstrip("/")
    wanted = set(window.hours())
    with storage.explained(captured):
        if system.get_file_info(root).type == fs.FileType.NotFound:
            raise DataError(f"{shown}: there is nothing there: is capture on, and is this its place?")
        below = system.get_file_info(fs.FileSelector(root, recursive=False))
        variants = sorted(one.path for one in below if one.type == fs.FileType.Directory)
        found: list[File] = []
        for variant in variants:
            for hour in sorted(wanted):
                folder = f"{variant}/{hour:%Y/%m/%d/%H}"
                selector = fs.FileSelector(folder, recursive=False, allow_not_found=True)
                for one in system.get_file_info(selector):
                    parts = _FILE.search(one.path)
                    if one.type == fs.FileType.File and parts is not None:
                        found.append(File(one.path, parts[1], hour, int(one.size)))
    return sorted(found, key=lambda file: file.path)
