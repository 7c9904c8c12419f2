"""Side by side: this server and its peers, the same network, interleaved rounds, ratios.

Run by `make bench-serving`. Every server has one worker and one thread for arithmetic; a server whose answers are not
equal to the offline predictions is not timed, an answer that is not 2xx fails its round.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from benchmarks.serving.driving import (
    CONNECTIONS,
    ECHO,
    JSON,
    OURS,
    PEERS,
    ROOT,
    Round,
    Server,
    check,
    drive,
    script,
    servers,
    start,
    stop,
    tree,
)
from benchmarks.serving.rates import overload, steady
from inference.contract import artifact, codecs, npy
from inference.model import load
from inference.settings import Settings
from tests.inference_support import artifacts

NPY = "application/x-npy"


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def one_row(running: list[Server], rounds: int, seconds: float, directory: Path, row: list[list[float]]) -> list[str]:
    """The main table: requests of one row as JSON."""
    scripts = {s.name: script(directory, f"one{place}", s.wrap(row), JSON) for place, s in enumerate(running)}
    results: dict[str, list[Round | None]] = {server.name: [] for server in running}
    for number in range(-1, rounds):  # the first round warms up
        for server in random.sample(running, len(running)):
            figures = drive(server, scripts[server.name], seconds if number >= 0 else 1.0)
            if number >= 0:
                results[server.name].append(figures)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    ours, limit = results[OURS], results[ECHO]
    lines = [
        (
            "| server | requests/s | of the echo on granian | sagestage is … times as fast | p50 ms | p99 ms"
            " | CPU µs/request | processes | failed rounds |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for server in running:
        mine = results[server.name]
        good = [one for one in mine if one is not None]
        if not good:
            lines.append(f"| {server.name} | no round without errors | | | | | | | {len(mine)} |")
            continue
        share = [a.per_second / b.per_second for a, b in zip(mine, limit, strict=True) if a and b]
        faster = [b.per_second / a.per_second for a, b in zip(mine, ours, strict=True) if a and b]
        cells = (
            server.name,
            f"{statistics.median([one.per_second for one in good]):,.0f}",
            spread(share, 2),
            spread(faster, 1),
            f"{statistics.median([one.p50_ms for one in good]):.1f}",
            f"{statistics.median([one.p99_ms for one in good]):.1f}",
            f"{statistics.median([one.cpu_us for one in good]):.0f}",
            str(len(tree(server.process.pid)) if server.process else 0),
            str(len(mine) - len(good)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    p99 = [a.p99_ms / b.p99_ms for a, b in zip(ours, limit, strict=True) if a and b]
    return [*lines, "", f"p99 of sagestage is {spread(p99, 2)} times that of the echo on granian."]


def many_rows(
    server: Server, rounds: int, seconds: float, directory: Path, rows: list[list[float]], path: Path
) -> list[str]:
    """Requests of 1,000 rows, against the same work in a loop without a server."""
    model = load(path, Settings(predictor="numpy"))
    bodies = {JSON: orjson.dumps({"instances": rows}), NPY: npy.write(np.array(rows))}
    rates: dict[str, list[float]] = {JSON: [], NPY: []}
    shares: dict[str, list[float]] = {JSON: [], NPY: []}
    for _ in range(rounds):
        for kind in random.sample(list(bodies), 2):
            posted = script(directory, "many", bodies[kind], kind)
            driven = drive(server, posted, seconds)
            count, end, begin = 0, 0.0, time.perf_counter()
            while end - begin < seconds:
                read = codecs.decode(bodies[kind], kind, model.reader)
                codecs.encode(model.predict(read), kind, version=model.version, latency_ms=1.0)
                count, end = count + 1, time.perf_counter()
            if driven is not None:
                rates[kind].append(driven.per_second)
                shares[kind].append(driven.per_second / (count / (end - begin)))
    faster = [a / b for a, b in zip(rates[NPY], rates[JSON], strict=True)]
    figures = [
        f"| {kind} | {statistics.median(rates[kind]):,.0f} | {spread(shares[kind], 2)} |" for kind in (JSON, NPY)
    ]
    lines = ["| 1,000 rows a request | requests/s | of the same work in a loop |", "|---|---|---|", *figures]
    return [*lines, "", f"x-npy is {spread(faster, 1)} times as fast as JSON."]


PARTS = ("one", "many", "steady", "overload")


def measure(part: str, given: argparse.Namespace, directory: Path, logs: Path) -> list[str]:
    """Start what the part needs, measure, stop; lines of Markdown."""
    made = artifacts.make(artifacts.plain_transform(16), hidden=(64, 32))
    model = directory / "model.tar.gz"
    artifacts.pack(made, model)
    artifact.unpack(model, directory / "model")
    rows = artifacts.instances(made.manifest.transform, 1000)
    everyone = servers(model, directory / "model")
    if part != "one":
        everyone = everyone[1:2]
    elif given.only:
        everyone = everyone[:3] + [one for one in everyone[3:] if one.name in given.only]
    ours, body = everyone[-1 if part != "one" else 1], everyone[0].wrap(rows[:1])
    if part == "overload":
        return overload(model, directory, logs, body, given.overload_s)
    try:
        for server in everyone:
            start(server, logs)
        for server in everyone:
            check(server, rows[:3], artifacts.answer(made, rows[:3]).values, logs)
            print(f"{server.name}: {server.problem or 'ready'}", file=sys.stderr)
        match part:
            case "many":
                return many_rows(ours, given.rounds, given.seconds, directory, rows, model)
            case "steady":
                return steady(ours, given.rate, 10, directory, body)
        running = [server for server in everyone if server.problem is None]
        report = one_row(running, given.rounds, given.seconds, directory, rows[:1])
        return [*report, *(f"\n{one.name}: {one.problem}." for one in everyone if one.problem)]
    finally:
        stop(everyone)


def circumstances(part: str, given: argparse.Namespace) -> str:
    """When, on what machine and how often a part was measured."""
    load_average = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    processor = cpu[1] if cpu else platform.machine()
    how = "one run"
    if part in ("one", "many"):
        how = f"{given.rounds} rounds of {given.seconds} s, in random order within a round"
        how += f", {CONNECTIONS} connections of wrk in another process"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({processor}), load average {load_average} at the end;"
        f" Python {platform.python_version()}; {how}."
    )


def charted(text: str, part: str, figures: str) -> str:
    """The document with new figures of one part; those of the others stay."""
    begin, end = f"<!-- bench {part} -->", f"<!-- {part} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{figures}\n{end}{rest.partition(end)[2]}"


def main() -> int:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="of each server in each round")
    parser.add_argument("--overload-s", type=int, default=120, help="how long the server is overloaded")
    parser.add_argument("--rate", type=int, default=10_000, help="requests a second of the constant rate")
    names = [server.name for server in servers(Path(), Path())[3:]]
    parser.add_argument("--only", nargs="+", choices=names, help="the peers to run beside sagestage and the echoes")
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="which parts to measure; the others keep their figures"
    )
    parser.add_argument("--save", type=Path, default=ROOT / "docs" / "serving.md")
    given = parser.parse_args()
    parts = given.parts.split(",")
    if odd := sorted(set(parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(odd)}; there are {', '.join(PARTS)}")
    if not given.save.is_file():
        parser.error(f"--save {given.save}: no such file; its figures are replaced, the rest of it stays")
    if shutil.which("wrk") is None or not PEERS.exists():
        print(
            "needs wrk (apt-get install wrk nghttp2-client) and the peers (make bench-serving installs them)",
            file=sys.stderr,
        )
        return 1
    logs = ROOT / ".sagestage" / "bench-serving"
    logs.mkdir(parents=True, exist_ok=True)
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
            lines = measure(part, given, Path(name), logs)
        figures = "\n".join([*lines, "", f"({circumstances(part, given)})"])
        print(f"{figures}\n", flush=True)
        given.save.write_text(charted(given.save.read_text(), part, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
