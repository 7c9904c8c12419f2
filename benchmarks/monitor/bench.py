"""The monitor's honesty by simulation, and its speed beside orjson's parse of the same records.

    make bench-monitor                          # writes its table into docs/monitoring.md
    make bench-monitor ARGS="--records 100000 --baselines 5 --no-memory --dry-run"

* false alarms: windows of 1,000 rows without drift, 20 columns, rows independent and with an autocorrelation of 0.98;
* detection: half a standard deviation, one, and a category from 10 to 20 %, in independent windows;
* traffic that is uneven over the day, and how often intervals of quality hold the truth;
* speed: seconds for 1,000,000 captured records of 20 columns by two readers, against a loop that merely parses their
  JSON (the line, the request in it, the answer in it) with orjson in one process: the readers' and the parse's
  runs alternate, and the best of each counts;
* memory: peak of a process and its readers for 100,000 records and for more (`--memory-records`).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
import orjson

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.monitor.simulate import (  # noqa: E402  # the line above
    CATEGORIES,
    NUMBERS,
    SHARES,
    TRUE,
    Rates,
    coverage,
    simulate,
    uneven,
)
from inference.contract.schema import Kind, Task  # noqa: E402  # likewise
from training.monitor import window as windows  # noqa: E402  # likewise
from training.monitor.baseline import Baseline, prediction_scale  # noqa: E402  # likewise
from training.monitor.job import Settings, run  # noqa: E402  # likewise
from training.monitor.reading import read  # noqa: E402  # likewise
from training.monitor.records import Plan  # noqa: E402  # likewise
from training.monitor.scales import Scale  # noqa: E402  # likewise
from training.monitor.window import Window  # noqa: E402  # likewise

DOCS = ROOT / "docs" / "monitoring.md"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
HOUR = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Window(HOUR, HOUR + timedelta(hours=1))
A_FILE = 50_000
LEVELS = tuple("abcde")
VERSION = "a" * 64


def baseline(random: np.random.Generator, rows: int = 20_000) -> Baseline:
    """Of independent rows."""
    values = random.normal(size=(rows, NUMBERS))
    texts = random.choice(len(LEVELS), size=(rows, CATEGORIES), p=SHARES).astype(np.uint8)
    deciles = np.quantile(values, np.arange(11) / 10, axis=0).T
    scales = [
        Scale.of_numbers(f"x{k}", Kind.NUMERIC, deciles[k].tolist(), float(values[:, k].mean()), 1.0)
        for k in range(NUMBERS)
    ]
    coded = np.column_stack([*(scale.of(values[:, k]) for k, scale in enumerate(scales)), texts])
    scales += [Scale(name=f"c{k}", kind=Kind.CATEGORICAL, levels=LEVELS) for k in range(CATEGORIES)]
    answer = prediction_scale(values[:, 0], ())
    return Baseline.packed(
        coded, answer.of(values[:, 0]), None, model="bench", sha256=VERSION, task=Task.REGRESSION, target="y",
        rows=rows, columns=tuple(scales), prediction=answer,
    )  # fmt: skip


def write(folder: Path, records: int, random: np.random.Generator) -> None:
    """Captured records of one hour."""
    place = folder / "main" / f"{HOUR:%Y/%m/%d/%H}"
    place.mkdir(parents=True)
    for start in range(0, records, A_FILE):
        count = min(A_FILE, records - start)
        numbers = random.normal(size=(count, NUMBERS)).round(4).tolist()
        texts = random.choice(len(LEVELS), size=(count, CATEGORIES), p=SHARES).tolist()
        with (place / f"{start:09d}.jsonl").open("wb") as file:
            for number in range(count):
                file.write(_record(start + number, numbers[number], texts[number]))


def _record(number: int, numbers: list[float], texts: list[int]) -> bytes:
    row = {f"x{k}": value for k, value in enumerate(numbers)} | {f"c{k}": LEVELS[t] for k, t in enumerate(texts)}
    answer = {"predictions": [numbers[0]], "model_version": VERSION[:12], "latency_ms": 1.2}
    kind = "application/json"
    sides = {
        name: {"observedContentType": kind, "mode": mode, "data": orjson.dumps(body).decode(), "encoding": "JSON"}
        for name, mode, body in (
            ("endpointInput", "INPUT", {"instances": [row]}),
            ("endpointOutput", "OUTPUT", answer),
        )
    }
    moment = HOUR + timedelta(seconds=number % 3_600)
    metadata = {"eventId": f"event-{number}", "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    return orjson.dumps({"captureData": sides, "eventMetadata": metadata, "eventVersion": "0"}) + b"\n"


class Taken(NamedTuple):
    """Seconds by the clock, and of CPU time of this process: a shared machine's neighbours do not count there."""

    wall: float
    cpu: float


def parse(folder: Path) -> Taken:
    """Merely parse every line, request and answer."""
    begin, cpu = perf_counter(), process_time()
    for path in sorted(folder.rglob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                data = orjson.loads(line)["captureData"]
                orjson.loads(data["endpointInput"]["data"])
                orjson.loads(data["endpointOutput"]["data"])
    return Taken(perf_counter() - begin, process_time() - cpu)


def monitor(folder: Path, place: Path, readers: int) -> Taken:
    """The whole job, the reports included."""
    begin, cpu = perf_counter(), process_time()
    outcome = run(Settings("bench", str(folder), {"": str(place)}, WINDOW, output=str(place / "out"), readers=readers))
    assert not any(one.drifted for one in outcome.findings)  # noqa: S101  # a benchmark of a wrong answer means nothing
    return Taken(perf_counter() - begin, process_time() - cpu)


def speed(records: int, runs: int) -> tuple[Taken, Taken, Taken]:
    """The parse, the job with one reader, and with two: the best of so many runs each."""
    random = np.random.Generator(np.random.PCG64(1))
    with tempfile.TemporaryDirectory(prefix="bench-monitor-") as name:
        folder, place = Path(name) / "captured", Path(name)
        (place / "drift.json").write_bytes(baseline(random).dump())
        write(folder, records, random)
        every = [(parse(folder), monitor(folder, place, 1), monitor(folder, place, 2)) for _ in range(runs)]
    return min(one[0] for one in every), min(one[1] for one in every), min(one[2] for one in every)


def memory(records: int) -> float:
    """Peak of a process that reads, in MiB; files are read over and over to reach the number of records."""
    code = f"import benchmarks.monitor.bench as b; b.peak({records})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak(records: int) -> None:
    """Print the peak of this process after reading so many records."""
    random = np.random.Generator(np.random.PCG64(2))
    with tempfile.TemporaryDirectory(prefix="bench-monitor-") as name:
        folder = Path(name)
        write(folder, min(records, 2 * A_FILE), random)
        plan = Plan(str(folder), WINDOW, {"main": baseline(random)})
        files = windows.files(folder, WINDOW)
        times = max(records // (2 * A_FILE), 1)
        found = read(files * times, plan, readers=1)
        assert sum(found.records.values()) == records, found.records  # noqa: S101  # as above
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def table(
    rates: dict[str, Rates], held: dict[str, Rates], timed: tuple[int, Taken, Taken, Taken], peaks: dict[int, float]
) -> str:
    """What was found, for the docs."""
    independent, alike, thinned, uneven = (rates[name] for name in ("independent", "0.98", "sampled", "uneven"))

    def row(what: str, wanted: str, found: str) -> str:
        return f"| {what} | {wanted} | {found} |"

    def said(one: Rates, name: str) -> str:
        return f"{one.share(name):.2%} ({one.hits.get(name, 0):,} of {one.windows:,})"

    records, parsed, alone, both = timed
    lines = [
        "| | wanted | found |",
        "|---|---|---|",
        row("windows of 1,000 without drift, independent rows: drifted", "< 1 %", said(independent, "false")),
        row("the same, autocorrelation 0.98", "< 1 %", said(alike, "false")),
        row("the same, autocorrelation 0.9, every tenth record captured", "< 1 %", said(thinned, "false")),
        row("columns that follow the day, most traffic in the afternoon: drifted", "< 1 %", said(uneven, "false")),
        row("a shift of half a standard deviation, by DriftedColumns", "> 99 %", said(independent, "half")),
        row("a category from 10 to 20 %, by DriftedColumns", "> 99 %", said(independent, "category")),
        row("a shift of one standard deviation, by FeatureDrift above 0.3", "> 99 %", said(independent, "sigma index")),
        row(
            f"{records:,} records x 20 columns, one reader", "≤ 3 x orjson's parse",
            f"{alone.wall / parsed.wall:.2f} x ({alone.wall:.1f} s; the parse {parsed.wall:.1f} s);"
            f" CPU time {alone.cpu / parsed.cpu:.2f} x",
        ),
        row("the same, two readers", "≤ 3 x", f"{both.wall / parsed.wall:.2f} x ({both.wall:.1f} s)"),
        *(
            row(f"95 % intervals of MAE, R², accuracy, log loss hold the truth, {name}", "about 95 %",
                ", ".join(f"{one.share(metric):.0%}" for metric in TRUE))
            for name, one in held.items()
        ),
        *(row(f"peak memory, {count:,} records", "flat", f"{size:.0f} MiB") for count, size in peaks.items()),
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Run, print, and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--baselines", type=int, default=40, help="each with 100 windows, of either kind")
    parser.add_argument("--memory-records", type=int, default=10_000_000)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="do not write into the docs")
    given = parser.parse_args()
    number = given.baselines
    rates = {
        "independent": simulate(keep=0.0, baselines=number, windows=100, seed=1),
        "0.98": simulate(keep=0.98, baselines=number, windows=100, seed=2),
        "sampled": simulate(keep=0.9, baselines=max(number // 4, 1), windows=50, thin=10, seed=3),
        "uneven": uneven(baselines=number, windows=25, seed=4),
    }
    held = {
        "independent rows": coverage(keep=0.0, windows=max(number * 3, 1), seed=5),
        "autocorrelation 0.9": coverage(keep=0.9, windows=max(number * 3, 1), seed=6),
        "autocorrelation 0.98: worth ten rows": coverage(keep=0.98, windows=max(number * 3, 1), seed=7),
    }
    print(json.dumps({name: {k: one.share(k) for k in one.hits} for name, one in rates.items()}), flush=True)
    timed = (given.records, *speed(given.records, given.runs))
    peaks = {} if given.no_memory else {count: memory(count) for count in (100_000, given.memory_records)}
    text = table(rates, held, timed, peaks)
    print(text)
    if not given.dry_run:
        page = DOCS.read_text()
        made = f"{BEGIN}\n{text}\n{END}"
        DOCS.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
