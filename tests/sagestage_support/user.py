"""Somebody at a shell in a project, with the installed commands and nothing of AWS or Pulumi in the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class User:
    """Somebody at a shell in a project's folder, who waits so long for a command."""

    patience_s = 240.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))}
        self.environment = clean | {"NO_COLOR": "1", "COLUMNS": "200"}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / arguments[0]), *arguments[1:]],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=self.patience_s,
            check=False,
        )

    def sagestage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("sagestage", *arguments)

    def json(self, *arguments: str) -> dict[str, Any]:
        answer = self.sagestage(*arguments, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def aws(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("aws", *arguments, **self.json("cloud", "env"))


def make_project(folder: Path) -> User:
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    shutil.copytree(
        ROOT / "stacks", folder / "stacks", ignore=shutil.ignore_patterns("__pycache__", "Pulumi.local.yaml")
    )
    return User(folder)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that work in the folder, or whose command line or environment names it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text and not (entry / "stat").read_text().split(")")[1].startswith(" Z"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
