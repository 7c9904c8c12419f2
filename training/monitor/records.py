"""One variant's records, line by line into counts: nearly all by a quick way, the others by a closer look."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from inference.contract.codecs import JSON, NPY, media_type
from inference.contract.schema import Task
from training.monitor.baseline import Baseline
from training.monitor.pairs import Pairs, Told
from training.monitor.payloads import PayloadError, Row, Rows, answers, of_json
from training.monitor.problems import Problem, Problems
from training.monitor.scales import Scale
from training.monitor.sums import SPANS
from training.monitor.tally import Tally
from training.monitor.window import MARGIN, File, Window

BATCH_ROWS = 4_096
CLOCK_FORM = 20  # 2026-01-31T12:00:00Z
Version = str


@dataclass(frozen=True)
class Plan:
    """What readers need to know.

    Attributes:
        place: where the files are, for its file system.
        baselines: by variant.
        pairs: where records are kept until the truth is joined to them; None: nothing is joined.
        segment: a column by whose values quality is told apart.
    """

    place: str
    window: Window
    baselines: Mapping[str, Baseline]
    pairs: Path | None = None
    segment: str | None = None


@dataclass
class Read:
    """What was read: counts by variant and model version, and what could not be."""

    tallies: dict[tuple[str, Version], Tally] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    records: dict[str, int] = field(default_factory=dict)

    def merge(self, other: Read) -> None:
        """Take in what another reader read."""
        for key, tally in other.tallies.items():
            if key in self.tallies:
                self.tallies[key].merge(tally)
            else:
                self.tallies[key] = tally
        self.problems.update(other.problems)
        for variant, count in other.records.items():
            self.records[variant] = self.records.get(variant, 0) + count


class Reader:
    """One variant's records."""

    def __init__(self, variant: str, baseline: Baseline, plan: Plan, result: Read, pairs: Pairs) -> None:
        self._variant, self._baseline = variant, baseline
        self._known, self._width = baseline.version, len(baseline.columns)
        self._quick = bool(self._known) and not pairs.open
        self._lists: tuple[list[Row], list[Any]] = ([], [])
        self._first, self._last = "~", ""  # after and before every time
        self._rows = Rows(baseline.columns, baseline.target)
        self._result, self._problems, self._pairs = result, result.problems, pairs
        self._window = plan.window
        self._begin, self._end = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (plan.window.start, plan.window.end))
        classified = baseline.task is Task.CLASSIFICATION and baseline.prediction is not None
        self._classes = baseline.prediction.levels if classified and baseline.prediction is not None else ()
        self._segment = None if plan.segment is None else _position(baseline.columns, plan.segment)
        self._waiting: dict[tuple[str, Version], tuple[list[Row], list[Any]]] = {}

    def take(self, line: bytes, file: File) -> None:
        """Count a record, if it belongs to the window."""
        try:
            record = orjson.loads(line)
            data, metadata = record["captureData"], record["eventMetadata"]
            made = metadata["inferenceTime"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self._problems[Problem.LINE] += bool(line.strip())
            return
        if self._quick and self._took_quickly(data, made, file):
            return
        if not self._belongs(made, file):
            return
        records = self._result.records
        records[file.variant] = records.get(file.variant, 0) + 1
        given, said = data.get("endpointInput"), data.get("endpointOutput")
        if given and said and given.get("encoding") != said.get("encoding"):
            self._problems[Problem.ENCODINGS] += 1
        told, version = None, ""
        if said:
            try:
                told = _answers(said)
                version = told.version
                if self._classes and media_type(said["observedContentType"]) == NPY:  # positions of classes
                    told = told._replace(values=[self._classes[int(value)] for value in told.values])
            except (PayloadError, LookupError, TypeError, ValueError):
                self._problems[Problem.NO_ANSWER] += 1
        if not version:
            self._problems[Problem.NO_VERSION] += 1
            version = self._baseline.version
        self._count(
            file.variant, version, given, None if told is None else Told(told.values, told.probabilities), metadata
        )

    def _took_quickly(self, data: Any, made: Any, file: File) -> bool:
        """Count what nearly all records are: one JSON row with one answer of the baseline's model, in time.

        Takes a third of the time of the closer look. False: nothing was counted, look closer.
        """
        try:
            given, said = data["endpointInput"], data["endpointOutput"]
            if (
                given["observedContentType"] != JSON
                or said["observedContentType"] != JSON
                or given["encoding"] != "JSON"
                or said["encoding"] != "JSON"
                or len(made) != CLOCK_FORM
                or not made.startswith(file.prefix)
                or not self._begin <= made < self._end
            ):
                return False
            (row,) = orjson.loads(given["data"])["instances"]
            answer = orjson.loads(said["data"])
            if len(row) != self._width or answer["model_version"] != self._known:
                return False
            picked = self._rows.pick(row)
            (value,) = answer["labels"] if "labels" in answer else answer["predictions"]
        except (KeyError, TypeError, ValueError):  # a JSONDecodeError is a ValueError
            return False
        rows, values = self._lists
        rows.append(picked)
        values.append(value)
        if made < self._first:  # noqa: PLR1730  # a call of min takes longer than the rest of these lines
            self._first = made
        if made > self._last:  # noqa: PLR1730  # likewise
            self._last = made
        if len(rows) >= BATCH_ROWS:
            self._flush_quick()
        return True

    def _flush_quick(self) -> None:
        rows, values = self._lists
        if not rows:
            return
        key = (self._variant, self._known)
        tally = self._result.tallies.setdefault(key, Tally.of(self._baseline))
        tally.records += len(rows)
        tally.seen_at(self._first)
        tally.seen_at(self._last)
        tally.add(rows, values)
        self._result.records[self._variant] = self._result.records.get(self._variant, 0) + len(rows)
        self._lists, self._first, self._last = ([], []), "~", ""

    def _count(self, variant: str, version: str, given: Any, told: Told | None, metadata: Mapping[str, Any]) -> None:
        rows: list[Row | None] = []
        if not given:
            self._problems[Problem.NO_INPUT] += 1
        else:
            try:
                rows = self._inputs(given)
            except (PayloadError, KeyError, TypeError, ValueError):
                self._problems[Problem.PAYLOAD] += 1
        if version != self._baseline.version and self._baseline.version:
            self._problems[Problem.OTHER_MODEL] += 1
        key = (variant, version)
        tally = self._result.tallies.get(key)
        if tally is None:
            tally = self._result.tallies[key] = Tally.of(self._baseline)
        tally.records += 1
        tally.seen_at(metadata["inferenceTime"])
        good = [row for row in rows if row is not None]
        if len(good) < len(rows):
            self._problems[Problem.SCHEMA] += len(rows) - len(good)
        held, said = self._waiting.setdefault(key, ([], []))
        held += good
        if told is not None:
            said += told.values
            if self._pairs.open and version == (self._baseline.version or version):
                self._pair(variant, metadata, told, rows)
        if len(held) >= BATCH_ROWS or len(said) >= BATCH_ROWS:
            self._flush(key)

    def _pair(self, variant: str, metadata: Mapping[str, Any], told: Told, rows: Sequence[Row | None]) -> None:
        identity, made = metadata.get("inferenceId"), metadata["inferenceTime"]
        if not isinstance(identity, str) or not identity:
            self._problems[Problem.NO_ID] += 1
            return
        segments = None
        if self._segment is not None and len(rows) == len(told.values):
            segments = [None if row is None else row[self._segment] for row in rows]
        span = self._window.span(made, identity, SPANS)
        self._pairs.add(variant, identity, span, told, segments)

    def _inputs(self, given: Mapping[str, Any]) -> list[Row | None]:
        header = given["observedContentType"]
        kind = media_type(header)
        if kind == JSON and given["encoding"] == "JSON":  # nearly all of them
            try:
                return self._rows.of_json(orjson.loads(given["data"]))
            except orjson.JSONDecodeError as error:
                raise PayloadError(str(error)) from None
        return self._rows.read(_body(given), kind, header)

    def _belongs(self, made: Any, file: File) -> bool:
        """Whether a record is of the window: by its own time, or by its file's hour where that cannot be right."""
        hour = file.hour
        if type(made) is str and made.startswith(file.prefix) and len(made) == CLOCK_FORM:
            return self._begin <= made < self._end
        try:
            at = datetime.fromisoformat(made)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
        except (TypeError, ValueError):
            at = None
        if at is not None and hour - MARGIN <= at < hour + 2 * MARGIN:
            return self._window.start <= at < self._window.end
        within = hour < self._window.end and hour + MARGIN > self._window.start
        self._problems[Problem.CLOCK] += within
        return within

    def flush(self) -> None:
        """Count what waits."""
        self._flush_quick()
        for key in list(self._waiting):
            self._flush(key)

    def _flush(self, key: tuple[str, Version]) -> None:
        rows, said = self._waiting.pop(key)
        self._result.tallies[key].add(rows, said)


def _answers(said: Mapping[str, Any]) -> Any:
    kind = media_type(said["observedContentType"])
    if kind == JSON and said["encoding"] == "JSON":
        try:
            return of_json(orjson.loads(said["data"]))
        except orjson.JSONDecodeError as error:
            raise PayloadError(str(error)) from None
    return answers(_body(said), kind)


def _body(side: Mapping[str, Any]) -> bytes | str:
    data = side["data"]
    if side["encoding"] != "BASE64":
        return str(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise PayloadError(str(error)) from None


def _position(columns: Sequence[Scale], name: str) -> int | None:
    names = [column.name for column in columns]
    return names.index(name) if name in names else None
