"""The SageMaker SDK as a process of its own, in the environment that `make local-mode` sets up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.cloud import docker
from tests.container_support.docker import ROOT, absent

PYTHON = ROOT / ".venv-aws/bin/python"


@dataclass
class Sdk:
    """The driver (drive.py says what it does), and where its log is."""

    process: subprocess.Popen[str]
    log: Path

    def do(self, what: str, **arguments: Any) -> Any:
        """Its answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline() or '{"error": "the driver ended"}')
        assert "error" not in told, f"{told['error']}\n{self.log.read_text()[-6000:]}"
        return told["answer"]


@contextmanager
def driver(folder: Path) -> Iterator[Sdk]:
    """Start it; skips where the SDK is not installed."""
    if not PYTHON.exists():
        absent("the SageMaker SDK is not installed: make local-mode")
    with (folder / "sdk.log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, ROOT / "tests/local_mode_support/drive.py"],
            cwd=folder, env=docker.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        yield Sdk(process, folder / "sdk.log")
    finally:
        process.communicate(timeout=60)
