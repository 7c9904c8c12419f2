"""Real server processes on free ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """A running process; `stop` sends SIGTERM and returns its exit code."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, timeout_s: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def start(model: Path | None, log: Path, *, stdout: Path | None = None, **environment: str) -> Server:
    """Start `python -m inference serve`; the caller waits for it and ends it. Without a model it is multi-model."""
    port = free_port()
    with log.open("w") as stderr, (stdout or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference", "serve", *([] if model is None else ["--model", str(model)])],
            cwd=ROOT,
            env=os.environ
            | {"SAGEMAKER_BIND_TO_PORT": str(port), "SAGESTAGE_HOST": "127.0.0.1", "SAGESTAGE_PREDICTOR": "numpy"}
            | environment,
            stderr=stderr,
            stdout=output,
            text=True,
        )
    return Server(process, port, log)


def wait_ready(server: Server, timeout_s: float = 30) -> None:
    """Wait until /ping answers 200; fails with the process's log when it ends before."""
    until = time.monotonic() + timeout_s
    with httpx.Client() as client:
        while time.monotonic() < until:
            if server.process.poll() is not None:
                raise AssertionError(f"the server ended with {server.process.returncode}: {server.log.read_text()}")
            try:
                if client.get(f"{server.url}/ping").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.02)  # not listening yet: there is no event to wait for in another process
    raise AssertionError(f"the server was not ready after {timeout_s} s: {server.log.read_text()}")


def wait_for(server: Server, metric: str, value: float, timeout_s: float = 30) -> None:
    """Wait until the first line of /metrics that has these words says this value."""
    found = None
    until = time.monotonic() + timeout_s
    while found != value:  # another process: there is no event to wait for
        assert server.process.poll() is None, server.log.read_text()
        assert time.monotonic() < until, f"{metric} is {found}, not {value}"
        text = httpx.get(f"{server.url}/metrics").text
        lines = [line for line in text.splitlines() if metric in line]
        found = float(lines[0].rpartition(" ")[2]) if lines else None


@contextmanager
def running(model: Path | None, log: Path, *, stdout: Path | None = None, **environment: str) -> Iterator[Server]:
    """A server that answers; ended afterwards, by force if need be."""
    server = start(model, log, stdout=stdout, **environment)
    try:
        wait_ready(server)
        yield server
    finally:
        server.process.kill()
        server.process.wait()
