"""The GitHub Actions workflows that users get."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONLINT = shutil.which("actionlint") or shutil.which("actionlint", path=str(ROOT.parent / "shared/tools"))


def workflow(name: str) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
    return loaded


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not installed")
def test_actionlint_accepts_every_workflow() -> None:
    done = subprocess.run([str(ACTIONLINT), *FILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert {file.stem for file in FILES} == {"check", "images", "preview", "deploy"}


def test_a_preview_has_neither_secrets_nor_an_identity() -> None:
    text = (ROOT / ".github/workflows/preview.yml").read_text()
    assert "secrets." not in text
    assert "id-token" not in text
    assert "--on embedded" in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_rights_are_given_one_by_one_and_no_key_of_aws_is_kept(file: Path) -> None:
    text = file.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"} | (
        {"pull-requests": "write"} if file.stem == "preview" else {}
    )
    assert "aws-access-key-id" not in text
    assert "write-all" not in text


def test_production_waits_for_staging_and_for_somebody() -> None:
    jobs = workflow("deploy")["jobs"]
    assert jobs["prod"]["needs"] == "staging"
    assert jobs["prod"]["environment"] == "prod"
    assert jobs["prod"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert jobs["prod"]["steps"] == jobs["staging"]["steps"]
    assert "sagestage verify" in jobs["prod"]["steps"][-1]["run"]
