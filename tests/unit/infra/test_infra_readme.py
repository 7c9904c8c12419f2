"""What the README says of programs: it is the program that stands in stacks/, and its third one runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_program_in_the_readme_is_the_one_in_stacks() -> None:
    assert (ROOT / "stacks" / "demand.py").read_text() in PROGRAMS


def test_the_program_of_ones_own_in_the_readme_declares_a_whole_endpoint(deploy: Callable[..., Any]) -> None:
    (program,) = [text for text in PROGRAMS if "quickstart" in text]
    monitor = deploy(lambda: exec(compile(program, "quickstart.py", "exec"), {"__name__": "__main__"}))  # noqa: S102 - it is our own
    kinds = {found["type"].rpartition(":")[2] for found in monitor.registered.values()}
    assert {
        "Endpoint",
        "EndpointConfiguration",
        "Model",
        "Target",
        "Policy",
        "MetricAlarm",
        "Topic",
        "Dashboard",
    } <= kinds


@pytest.mark.parametrize("name", sorted(set(re.findall(r"yes: (.*?) \|", README))))
def test_every_yes_in_the_features_table_names_a_test_that_is_there(name: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for one in re.findall(r"`([^`]+)`", name):
        there = (
            list((ROOT / "tests").rglob(one))
            if one.endswith(".py")
            else re.findall(rf"def test_\w*{one}\w*\(", sources)
        )
        assert there, one


@pytest.mark.parametrize("path", sorted((ROOT / "stacks").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_program_is_under_sixty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
