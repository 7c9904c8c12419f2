"""`sagestage images`, as a user runs it, and what it says of a mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.cloud import docker
from tests.container_support.docker import ROOT

SAGESTAGE = str(Path(sys.executable).with_name("sagestage"))


def sagestage(*words: str, folder: Path = ROOT, **env: str) -> tuple[int, str]:
    """The exit code, and standard error."""
    variables = {**docker.environment(), "NO_COLOR": "1", "COLUMNS": "400", **env}
    done = subprocess.run(
        [SAGESTAGE, "images", *words], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def told(answer: tuple[int, str], *expected: str) -> None:
    """One line that says it, and no traceback."""
    code, said = answer
    assert code == 1
    assert said.count("\n") == 1, said
    assert said.startswith("error ")
    for one in expected:
        assert one in said
