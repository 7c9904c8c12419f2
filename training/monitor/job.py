"""One window: read, compare, judge; write the files; publish the metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from inference.contract.metrics import Monitored
from training import storage
from training.errors import ConfigError
from training.monitor import documents, findings, page, reading, truth
from training.monitor import window as windows
from training.monitor.baseline import Baseline, load
from training.monitor.findings import VariantFinding
from training.monitor.judging import Judged, judge
from training.monitor.problems import Problem, Problems
from training.monitor.records import Plan, Read
from training.monitor.tally import Tally
from training.monitor.window import Window


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do.

    Attributes:
        endpoint: its name, for the metrics and the report.
        captured: the folder or s3:// prefix that holds a folder for each variant.
        baselines: where each variant's baseline lies; "" stands for all variants.
        window: the span of time.
        output: folder or s3:// prefix for the files; None: none are written.
        truth: folder or s3:// prefix of labels; None: quality is not judged.
        truth_delay_s: how much earlier than the window the records lie that are judged: labels are late.
        segment: a column by whose values quality is told apart.
        readers: processes; None: as many as suit.
    """

    endpoint: str
    captured: str
    baselines: Mapping[str, str]
    window: Window
    output: str | None = None
    truth: str | None = None
    truth_delay_s: float = 0.0
    segment: str | None = None
    readers: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        findings: a model behind a variant each; those of the baseline first.
        metrics: by variant, what is published.
        problems: what could not be read.
        notes: sentences worth knowing.
        files: capture files that were read.
        made: when.
    """

    settings: Settings
    findings: tuple[VariantFinding, ...]
    metrics: Mapping[str, Mapping[Monitored, float]]
    problems: Problems
    notes: tuple[str, ...]
    files: int
    made: datetime = field(default_factory=lambda: datetime.now(UTC))


def run(settings: Settings) -> Outcome:
    """Look at a window.

    Raises:
        DataError: the captured traffic, a baseline or the labels are not where they should be.
        ConfigError: a setting cannot be.
    """
    baselines = {variant: load(place) for variant, place in settings.baselines.items()}
    if not baselines:
        raise ConfigError(["no baseline is named: give one for each variant"])
    if settings.segment and not any(settings.segment in _names(one) for one in baselines.values()):
        names = ", ".join(_names(next(iter(baselines.values()))))
        raise ConfigError([f"segment {settings.segment!r} is no input column: there are {names}"])
    files = windows.files(settings.captured, settings.window)
    by_variant = {name: one for name in {file.variant for file in files} if (one := _for(name, baselines)) is not None}
    by_variant |= {variant: one for variant, one in baselines.items() if variant}
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder:
        together = settings.truth is not None and not settings.truth_delay_s
        pairs = Path(folder) / "pairs" if together else None
        plan = Plan(settings.captured, settings.window, by_variant, pairs, settings.segment if together else None)
        found = reading.read(files, plan, readers=settings.readers)
        judged, labels = _judged(settings, by_variant, found, Path(folder))
    made = []
    for (variant, version), tally in sorted(found.tallies.items()):
        known = version == by_variant[variant].version or not by_variant[variant].version
        made.append(findings.of(variant, version, tally, by_variant[variant], judged.get(variant) if known else None))
    for variant in sorted(set(by_variant) - {one.variant for one in made if one.known}):
        empty = Tally.of(by_variant[variant])
        made.append(findings.of(variant, by_variant[variant].version, empty, by_variant[variant], judged.get(variant)))
    made.sort(key=lambda one: (not one.known, one.variant, one.version))
    metrics = {one.variant: findings.metrics(one, found.records.get(one.variant, 0)) for one in made if one.known}
    notes = (*_notes(made, found, len(files), settings), *([] if labels is None else [f"{labels:,} labels were read"]))
    outcome = Outcome(settings, tuple(made), metrics, found.problems, notes, len(files))
    if settings.output is not None:
        write(outcome, settings.output)
    return outcome


def _judged(
    settings: Settings, baselines: Mapping[str, Baseline], found: Read, folder: Path
) -> tuple[dict[str, Judged], int | None]:
    """Quality, by variant, and how many labels were read."""
    if settings.truth is None:
        return {}, None
    pairs = folder / "pairs"
    if settings.truth_delay_s:  # the records of an earlier window, whose labels have come by now
        then = settings.window.earlier(settings.truth_delay_s)
        files = windows.files(settings.captured, then)
        earlier = reading.read(
            files, Plan(settings.captured, then, baselines, pairs, settings.segment), readers=settings.readers
        )
        found.problems[Problem.NO_ID] += earlier.problems[Problem.NO_ID]
    since = settings.window.earlier(settings.truth_delay_s).start  # a label is not there before its record
    labels = truth.collect(settings.truth, pairs, found.problems, since)
    return judge(pairs, baselines, found.problems), labels


def _notes(made: list[VariantFinding], found: Read, files: int, settings: Settings) -> list[str]:
    notes = []
    if not files:
        notes.append(f"no capture file is of {settings.window}: no traffic, or capture is off or late")
    elif not found.records:
        notes.append(f"{files} capture files hold no record of {settings.window}")
    for one in made:
        if one.known and not one.enough:
            least = findings.LEAST_ROWS
            notes.append(
                f"{one.variant}: {one.rows:,} rows are too few for drift ({least} are needed): only RecordsRead"
            )
        if not one.known:
            notes.append(f"{one.variant}: {one.records:,} records are of model {one.version}, not of the baseline's")
    return notes


def write(outcome: Outcome, place: str) -> None:
    """Put statistics.json, constraint_violations.json and report.html into a folder or a prefix.

    Raises:
        TrainingError: they cannot be written.
    """
    root = storage.name(place).rstrip("/")
    for name, document in documents.all_of(outcome).items():
        storage.write_bytes(f"{root}/{name}", orjson.dumps(document, option=orjson.OPT_INDENT_2))
    storage.write_bytes(f"{root}/report.html", page.page(outcome).encode())


def _for(variant: str, baselines: Mapping[str, Baseline]) -> Baseline | None:
    return baselines.get(variant) or baselines.get("")


def _names(baseline: Baseline) -> list[str]:
    return [scale.name for scale in baseline.columns]
