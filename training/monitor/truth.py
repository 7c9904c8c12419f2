"""The truth, joined to the predictions by InferenceId: how good the model was, with intervals.

Labels are JSON Lines in S3, `{"inferenceId": …, "label": …}` (or `labels`, one a row of the request), or in the form
of SageMaker's ground truth: `{"groundTruthData": {"data": …, "encoding": …}, "eventMetadata": {"eventId": …}}`. They
may be late and there need not be one for every record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from training import storage
from training.errors import DataError
from training.monitor.pairs import Pairs
from training.monitor.problems import Problem, Problems

ENDINGS = (".jsonl", ".json", ".jsonl.gz")
_HOUR = re.compile(r"/(\d{4})/([01]\d)/([0-3]\d)/([0-2]\d)/[^/]+$")


def collect(place: Path | str, folder: Path, problems: Problems, since: datetime | None = None) -> int:
    """Deal the labels of a folder, a prefix or a file into parts beside the predictions; how many lines there were.

    Files that lie below an hour, `yyyy/mm/dd/hh/`, are not read where that hour had ended by `since`.

    Raises:
        DataError: the place is gone or cannot be read.
    """
    from pyarrow import fs  # noqa: PLC0415  # loads AWS's libraries

    system, root = storage.filesystem(place)
    lines = 0
    with storage.explained(place), Pairs.writer(folder, 0, "truth") as kept:
        info = system.get_file_info(root.rstrip("/"))
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{storage.name(place)}: no labels are there: where are they written to?")
        below = (
            [info]
            if info.type == fs.FileType.File
            else system.get_file_info(fs.FileSelector(info.path, recursive=True))
        )
        paths = sorted(
            one.path
            for one in below
            if one.type == fs.FileType.File and one.path.endswith(ENDINGS) and not _over(one.path, since)
        )
        for path in paths:
            with system.open_input_stream(path, compression="gzip" if path.endswith(".gz") else None) as stream:
                for line in _lines(stream):
                    lines += 1
                    found = _label(line)
                    if found is None:
                        problems[Problem.LABEL] += 1
                    else:
                        kept.write(*found)
    return lines


def _over(path: str, since: datetime | None) -> bool:
    """Whether a file's hour had ended by then."""
    found = _HOUR.search(path)
    if since is None or found is None:
        return False
    year, month, day, hour = (int(part) for part in found.groups())
    return datetime(year, month, day, hour, tzinfo=UTC) + timedelta(hours=1) <= since


def _lines(stream: Any) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def _label(line: bytes) -> tuple[str, list[Any]] | None:
    """The id and a label for each row; None for what is no label."""
    try:
        told = orjson.loads(line)
        if "groundTruthData" in told:
            identity = told["eventMetadata"]["eventId"]
            labels = _of_aws(told["groundTruthData"])
        else:
            identity = told["inferenceId"] if "inferenceId" in told else told["inference_id"]
            labels = told["labels"] if "labels" in told else [told["label"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    fit = (
        isinstance(labels, list) and labels and all(isinstance(one, str | int | float) or one is None for one in labels)
    )
    return (identity, labels) if isinstance(identity, str) and identity and fit else None


def _of_aws(data: Any) -> list[Any]:
    """Labels as SageMaker's ground truth has them: CSV, or JSON."""
    if data["encoding"].upper() == "JSON":
        found = orjson.loads(data["data"])
        return found if isinstance(found, list) else [found]
    return [_number(cell.strip()) for cell in data["data"].replace("\n", ",").split(",")]


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell


def agreed(labels: Iterable[tuple[str, list[Any]]], problems: Problems) -> dict[str, list[Any]]:
    """One label an id: those that contradict each other are none."""
    every: dict[str, list[list[Any]]] = {}
    for identity, label in labels:
        every.setdefault(identity, []).append(label)
    known = {}
    for identity, told in every.items():
        if any(one != told[0] for one in told):
            problems[Problem.CONTRADICTORY] += len(told)
            continue
        problems[Problem.REPEATED] += len(told) - 1
        known[identity] = told[0]
    return known
