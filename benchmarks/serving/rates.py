"""Load of a stated rate by h2load: a steady one, and more than the server can do."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

from benchmarks.serving.driving import HERE, JSON, ROOT, Server, start, stop, tree

STEADY_CONNECTIONS = 128
"""So many that a connection is seldom busy when its next request is due."""


def steady(server: Server, rate: int, seconds: int, directory: Path, body: bytes) -> list[str]:
    """A constant rate by h2load: latency is that of requests sent on schedule."""
    if shutil.which("h2load") is None:
        return ["Constant rate: not measured, h2load is not installed."]
    (directory / "steady.json").write_bytes(body)
    per = rate / STEADY_CONNECTIONS
    log, body_file = directory / "h2.log", directory / "steady.json"
    command = ["h2load", "--h1", f"--rps={per:g}", f"-D{seconds}", f"-c{STEADY_CONNECTIONS}", "-t1"]
    command += [f"--log-file={log}", "-d", str(body_file), "-H", f"content-type: {JSON}", server.url]
    (directory / "h2.log").unlink(missing_ok=True)
    subprocess.run(command, capture_output=True, text=True, check=True)
    fields = [line.split("\t") for line in (directory / "h2.log").read_text().splitlines()]
    # h2load notes when a request left; when it should have left follows from the rate: each connection sends one a tick
    begun = sorted((int(one[0]), int(one[2])) for one in fields if one[1] == "200")
    due = (begun[0][0] + place // STEADY_CONNECTIONS * 1e6 / per for place in range(len(begun)))
    took = sorted((max(start - when, 0.0) + lasted) / 1000 for (start, lasted), when in zip(begun, due, strict=True))
    reached = len(took) / seconds
    p50, p95, p99 = (took[int(len(took) * share)] for share in (0.5, 0.95, 0.99))
    text = (
        f"Constant rate (h2load --h1 --rps={per:g} on {STEADY_CONNECTIONS} connections, {seconds} s): {rate:,} a second"
        f" asked for, {reached:,.0f} reached; from the moment that each should have been sent"
        f" p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms;"
        f" {len(fields) - len(took)} not 200."
    )
    return [text]


def overload(model: Path, directory: Path, logs: Path, body: bytes, seconds: int) -> list[str]:
    """A predictor slowed to about 1,000 requests a second, 4,000 offered: what is answered, refused, and remembered."""
    command = [sys.executable, "-m", "inference", "serve", "--model", str(model)]
    environment = {
        "SAGESTAGE_HOST": "127.0.0.1",
        "SAGESTAGE_PREDICTOR": "numpy",
        "SAGESTAGE_MAX_BATCH_ROWS": "1",
        "SAGESTAGE_MAX_REQUESTS": "16",
        "PYTHONPATH": f"{ROOT}:{HERE / 'slowed'}",
    }
    slowed = Server("slowed", command, environment, cwd=ROOT)
    start(slowed, logs)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if httpx.get(slowed.url.replace("/invocations", "/ping")).status_code == httpx.codes.OK:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        (directory / "over.json").write_bytes(body)
        peak = _offered(slowed, directory, 8, 0, 5)[200]
        kilobytes = [_resident(slowed)]
        counts: dict[int, list[float]] = {200: [], 503: []}
        rates = []
        for _ in range(max(1, seconds // 10)):
            rates.append(_offered(slowed, directory, 100, 40, 10, counts)[200])
            kilobytes.append(_resident(slowed))
    finally:
        stop([slowed])
    refused = sorted(counts[503])
    good = statistics.median(rates)
    middle = refused[len(refused) // 2] if refused else 0.0
    text = (
        "Overload (a predictor slowed to one request a millisecond; 4,000 a second offered on 100 connections for"
        f" {seconds} s): peak {peak:,.0f} good answers a second; under overload {good:,.0f} ({good / peak:.0%} of it);"
        f" {len(refused):,} refusals, median {middle:.1f} ms; resident memory {kilobytes[1] / 1024:.0f} MB after 10 s,"
        f" {kilobytes[-1] / 1024:.0f} MB at the end."
    )
    return [text]


def _offered(
    server: Server,
    directory: Path,
    connections: int,
    rps: int,
    seconds: int,
    times: dict[int, list[float]] | None = None,
) -> dict[int, float]:
    """h2load at a rate of `rps` a connection (0: as fast as it goes); answers a second by status."""
    log = directory / "over.log"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", f"-D{seconds}", f"-c{connections}", "-t1", f"--log-file={log}"]
    command += [f"--rps={rps}"] if rps else []
    command += ["-d", str(directory / "over.json"), "-H", f"content-type: {JSON}", server.url]
    subprocess.run(command, capture_output=True, text=True, check=True)
    rates: dict[int, float] = {200: 0.0, 503: 0.0}
    for line in log.read_text().splitlines():
        _, status, microseconds = line.split("\t")
        rates[int(status)] = rates.get(int(status), 0.0) + 1 / seconds
        if times is not None:
            times.setdefault(int(status), []).append(int(microseconds) / 1000)
    return rates


def _resident(server: Server) -> float:
    """Kilobytes of all its processes."""
    total = 0.0
    for pid in tree(server.process.pid if server.process else 0):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        total += float(found[1]) if found else 0.0
    return total
