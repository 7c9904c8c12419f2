"""Where the command line writes: answers to standard output, progress and remarks beside it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console

LOG_WIDTH = 120


@dataclass
class Settings:
    """What stood before the command."""

    debug: bool = False


settings = Settings()


def console(*, as_json: bool = False) -> Console:
    """Where a person reads: standard output, or standard error when standard output is for JSON."""
    made = Console(stderr=as_json)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(stderr=as_json, width=LOG_WIDTH)  # a log has no width of its own; 80 would fold the tables
    return made


def command() -> str:
    """How this shell calls us: by name where the PATH has it, and otherwise by the path from here."""
    if shutil.which("sagestage"):
        return "sagestage"
    return os.path.relpath(Path(sys.executable).with_name("sagestage"))


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str))
