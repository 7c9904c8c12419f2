"""The servers under test: started, checked, driven by wrk, and stopped."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = HERE / ".venv" / "bin" / "python"
MLSERVER = HERE / ".venv" / "mlserver" / "bin"
CONNECTIONS = 32
JSON = "application/json"
HZ = os.sysconf("SC_CLK_TCK")
ECHO, OURS, BARE = "echo on granian", "sagestage", "echo on our HTTP"


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
        Server(ECHO, [python, "echo.py"]),
        Server(OURS, [sys.executable, "-m", "inference", "serve", "--model", str(model)], cwd=ROOT,
               environment={"SAGESTAGE_HOST": "127.0.0.1", "SAGESTAGE_PREDICTOR": "numpy"}),
        Server(BARE, [sys.executable, "-m", "benchmarks.serving.peers.echo_ours"], cwd=ROOT),
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
    """A duration as wrk prints it."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]


def drive(server: Server, script: Path, seconds: float) -> Round | None:
    """One round of wrk; None when an answer was not 2xx or none came."""
    if server.process is None:
        return None
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
