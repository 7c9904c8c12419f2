"""Side by side: this server and its peers, the same network, interleaved rounds, ratios.

Run by `make bench-serving`. Every server has one worker and one thread for arithmetic; an answer that is not equal to the
offline prediction ends the run before anything is timed, an answer that is not 2xx fails its round.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # read when numpy is imported: the loop without a server has one thread too

import httpx
import numpy as np
import orjson

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from inference.contract import artifact, codecs, npy  # noqa: E402
from inference.model import load  # noqa: E402
from inference.settings import Settings  # noqa: E402
from tests.inference_support import artifacts  # noqa: E402

PEERS = HERE / ".venv" / "bin" / "python"
MLSERVER = HERE / ".venv" / "mlserver" / "bin"
CONNECTIONS = 32
JSON, NPY = "application/json", "application/x-npy"
HZ = os.sysconf("SC_CLK_TCK")
CHARTED = "<!-- bench -->"


@dataclass
class Server:
    """A server under test and what was measured of it."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    wrap: Callable[[list[list[float]]], bytes] = lambda rows: orjson.dumps({"instances": rows})
    read: Callable[[bytes], list[float]] = lambda body: orjson.loads(body)["predictions"]
    cwd: Path = HERE / "peers"
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    problem: str | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{self.path}"


@dataclass(frozen=True)
class Round:
    """One server's figures in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def v2(rows: list[list[float]]) -> bytes:
    """The open inference protocol, which MLServer speaks."""
    flat = [value for row in rows for value in row]
    return orjson.dumps({"inputs": [{"name": "x", "shape": [len(rows), 16], "datatype": "FP32", "data": flat}]})


def servers(model: Path, directory: Path) -> list[Server]:
    """All of them; those whose packages are missing say so when they are started."""
    python = str(PEERS)
    unpacked = {"BENCH_MODEL": str(directory), "PYTHONPATH": f"{ROOT}:{HERE / 'peers'}"}
    return [
        Server("echo (the limit)", [python, "echo.py"]),
        Server("sagestage", [sys.executable, "-m", "inference", "serve", "--model", str(model)], cwd=ROOT,
               environment={"SAGESTAGE_HOST": "127.0.0.1", "SAGESTAGE_PREDICTOR": "numpy"}),
        Server("FastAPI, uvicorn", [python, "fastapi_plain.py"], unpacked),
        Server("FastAPI, orjson, our predictor", [python, "fastapi_ours.py"], unpacked),
        Server("LitServe", [python, "litserve_peer.py"], unpacked),
        Server("BentoML", [python, "-m", "bentoml", "serve", "bentoml_peer:Peer", "--host", "127.0.0.1"],
               unpacked | {"BENTOML_DO_NOT_TRACK": "true"}, read=orjson.loads),
        Server("Ray Serve", [python, "ray_peer.py"], unpacked | {"RAY_USAGE_STATS_ENABLED": "0"}),
        Server("MLServer", [str(MLSERVER / "mlserver"), "start", "mlserver"], unpacked, path="/v2/models/peer/infer",
               wrap=v2, read=lambda body: orjson.loads(body)["outputs"][0]["data"]),
    ]  # fmt: skip


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(server: Server, logs: Path) -> None:
    """Start a server in a session of its own."""
    server.port = free_port()
    port = str(server.port)
    server.environment |= {"PORT": port, "SAGEMAKER_BIND_TO_PORT": port, "MLSERVER_HTTP_PORT": port}
    command = [*server.command, *(["--port", port] if server.name == "BentoML" else [])]
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with (logs / f"{re.sub('[^a-z]', '_', server.name.lower())}.log").open("wb") as log:
        try:
            server.process = subprocess.Popen(
                command, cwd=server.cwd, env=os.environ | one | server.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            server.problem = f"does not start: {error.strerror}"


def check(server: Server, rows: list[list[float]], expected: np.ndarray, logs: Path) -> None:
    """Wait until it answers, and compare the answer."""
    until = time.monotonic() + 90
    body, seen = server.wrap(rows), "no answer"
    while server.process is not None and time.monotonic() < until and server.process.poll() is None:
        try:
            answer = httpx.post(server.url, content=body, headers={"content-type": JSON}, timeout=20)
        except httpx.TransportError:
            time.sleep(0.3)
            continue
        if answer.status_code == httpx.codes.OK:
            if server.name.startswith("echo") or np.allclose(server.read(answer.content), expected, 1e-4, 1e-5):
                return
            server.problem = f"answers otherwise: {answer.text[:80]}"
            return
        seen = f"{answer.status_code} {answer.text[:80]}"
        time.sleep(0.3)
    server.problem = server.problem or f"does not serve here ({seen}); its log is in {logs.name}"


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, pending = [], [pid]
    while pending:
        found.append(pending.pop())
        pending.extend(children.get(found[-1], []))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all that it started."""
    total = 0.0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / HZ
    return total


def milliseconds(text: str) -> float:
    """wrk's durations."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]


def drive(server: Server, script: Path, seconds: float) -> Round | None:
    """One round of wrk; None when an answer was not 2xx or none came."""
    assert server.process is not None
    before = cpu_s(server.process.pid)
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds:g}s",
        "--timeout",
        "30s",
        "--latency",
        "-s",
        str(script),
        server.url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_s(server.process.pid) - before
    done = re.search(r"(\d+) requests in", said)
    if "Non-2xx" in said or "Socket errors" in said or done is None or int(done[1]) == 0:
        return None
    return Round(
        float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]),  # type: ignore[index]
        milliseconds(re.search(r"(?m)^\s+50%\s+(\S+)", said)[1]),  # type: ignore[index]
        milliseconds(re.search(r"(?m)^\s+99%\s+(\S+)", said)[1]),  # type: ignore[index]
        used / int(done[1]) * 1e6,
    )


def script(directory: Path, name: str, body: bytes, content_type: str) -> Path:
    """A Lua script for wrk that posts a file's content."""
    (directory / f"{name}.body").write_bytes(body)
    path = directory / f"{name}.lua"
    path.write_text(
        f'local f = io.open("{directory / name}.body", "rb")\nwrk.method = "POST"\nwrk.body = f:read("*a")\n'
        f'wrk.headers["Content-Type"] = "{content_type}"\nwrk.headers["Accept"] = "{content_type}"\n'
    )
    return path


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
    ours, limit = results["sagestage"], results["echo (the limit)"]
    lines = [
        "| server | requests/s | of the echo's | sagestage is … times as fast | p50 ms | p99 ms | CPU µs/request | processes | failed rounds |",
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
    return [*lines, "", f"p99 of sagestage is {spread(p99, 2)} times the echo's."]


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
            figures = drive(server, posted, seconds)
            count, end, begin = 0, 0.0, time.perf_counter()
            while end - begin < seconds:
                read = codecs.decode(bodies[kind], kind, model.reader)
                codecs.encode(model.predict(read), kind, version=model.version, latency_ms=1.0)
                count, end = count + 1, time.perf_counter()
            if figures is not None:
                rates[kind].append(figures.per_second)
                shares[kind].append(figures.per_second / (count / (end - begin)))
    faster = [a / b for a, b in zip(rates[NPY], rates[JSON], strict=True)]
    lines = ["| 1,000 rows a request | requests/s | of the same work in a loop |", "|---|---|---|"]
    for kind in (JSON, NPY):
        lines.append(f"| {kind} | {statistics.median(rates[kind]):,.0f} | {spread(shares[kind], 2)} |")
    return [*lines, "", f"x-npy is {spread(faster, 1)} times as fast as JSON."]


def steady(server: Server, rate: int, seconds: int, directory: Path, body: bytes) -> list[str]:
    """A constant rate by h2load: latency is that of requests sent on schedule."""
    if shutil.which("h2load") is None:
        return ["Constant rate: not measured, h2load is not installed."]
    (directory / "steady.json").write_bytes(body)
    per = rate // CONNECTIONS
    command = ["h2load", "--h1", f"--rps={per}", f"-D{seconds}", f"-c{CONNECTIONS}", "-t1", f"--log-file={directory / 'h2.log'}",
               "-d", str(directory / "steady.json"), "-H", f"content-type: {JSON}", server.url]  # fmt: skip
    (directory / "h2.log").unlink(missing_ok=True)
    subprocess.run(command, capture_output=True, text=True, check=True)
    fields = [line.split("\t") for line in (directory / "h2.log").read_text().splitlines()]
    took = sorted(int(one[2]) / 1000 for one in fields if one[1] == "200")
    reached = len(took) / seconds
    p50, p95, p99 = (took[int(len(took) * share)] for share in (0.5, 0.95, 0.99))
    return [
        f"Constant rate (h2load --h1 --rps={per} on {CONNECTIONS} connections, {seconds} s): {rate:,} a second asked for,"
        f" {reached:,.0f} reached, p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms; {len(fields) - len(took)} not 200."
    ]


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
    return [
        f"Overload (a predictor slowed to one request a millisecond; 4,000 a second offered on 100 connections for {seconds} s): peak"
        f" {peak:,.0f} good answers a second; under overload {statistics.median(rates):,.0f}"
        f" ({statistics.median(rates) / peak:.0%} of the peak); {len(refused):,} refusals,"
        f" median {refused[len(refused) // 2] if refused else 0:.1f} ms; resident memory {kilobytes[1] / 1024:.0f} MB after 10 s,"
        f" {kilobytes[-1] / 1024:.0f} MB at the end."
    ]


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
    command = ["h2load", "--h1", f"-D{seconds}", f"-c{connections}", "-t1", f"--log-file={log}", "-d", str(directory / "over.json"),
               *([f"--rps={rps}"] if rps else []), "-H", f"content-type: {JSON}", server.url]  # fmt: skip
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
    assert server.process is not None
    total = 0.0
    for pid in tree(server.process.pid):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        total += float(found[1]) if found else 0.0
    return total


def main() -> int:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each server in each round")
    parser.add_argument("--overload-s", type=int, default=120, help="how long the server is overloaded")
    parser.add_argument("--only", help="names of servers, with commas; echo and sagestage always run")
    parser.add_argument("--save", type=Path, default=ROOT / "docs" / "serving.md")
    given = parser.parse_args()
    if shutil.which("wrk") is None or not PEERS.exists():
        print(
            "needs wrk (apt-get install wrk nghttp2-client) and the peers (make bench-serving installs them)",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        directory = Path(name)
        made = artifacts.make(artifacts.plain_transform(16), hidden=(64, 32))
        artifacts.pack(made, directory / "model.tar.gz")
        artifact.unpack(directory / "model.tar.gz", directory / "model")
        rows = artifacts.instances(made.manifest.transform, 1000)
        everyone = servers(directory / "model.tar.gz", directory / "model")
        if given.only:
            everyone = everyone[:2] + [one for one in everyone[2:] if one.name in given.only.split(",")]
        logs = ROOT / ".sagestage" / "bench-serving"
        logs.mkdir(parents=True, exist_ok=True)
        try:
            for server in everyone:
                start(server, logs)
            for server in everyone:
                check(server, rows[:3], artifacts.answer(made, rows[:3]).values, logs)
                print(f"{server.name}: {server.problem or 'ready'}", file=sys.stderr)
            running = [server for server in everyone if server.problem is None]
            report = one_row(running, given.rounds, given.seconds, directory, rows[:1])
            report += ["", *(f"{one.name}: {one.problem}." for one in everyone if one.problem), ""]
            report += many_rows(running[1], given.rounds, given.seconds, directory, rows, directory / "model.tar.gz")
            rows_body = running[1].wrap(rows[:1])
            report += ["", *steady(running[1], 10_000, 10, directory, rows_body)]
            stop(everyone)
            report += ["", *overload(directory / "model.tar.gz", directory, logs, rows_body, given.overload_s)]
        finally:
            stop(everyone)
    load_average = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    report += [
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), shared with others"
        f" (load average {load_average} at the end); Python {platform.python_version()}; {given.rounds} rounds of"
        f" {given.seconds:g} s, servers in random order within a round, {CONNECTIONS} connections of wrk in another process."
        " Figures are medians, ratios medians of the ratios of a round, with their range.",
    ]
    print("\n".join(report))
    before, mark, rest = given.save.read_text().partition(CHARTED)
    after = rest.partition(CHARTED)[2]
    given.save.write_text(f"{before}{mark or CHARTED}\n" + "\n".join(report) + f"\n{CHARTED}{after}")
    return 0


def stop(everyone: list[Server]) -> None:
    """End every server and all that it started."""
    for server in everyone:
        if server.process is None:
            continue
        if server.process.poll() is not None:
            continue
        family = tree(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(8)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        for pid in family[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    sys.exit(main())
