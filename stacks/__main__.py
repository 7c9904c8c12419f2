"""Runs the program that the stack's configuration names: `sagestage:program: demand` is demand.py beside this file."""

import runpy
import sys
import traceback
from pathlib import Path

import pulumi

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))  # Pulumi starts programs in this folder; the components are beside it

from infra import InfraError  # noqa: E402 - it is found through the line above

programs = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
program = pulumi.Config().require("program")
if program not in programs:
    raise pulumi.RunError(f"sagestage:program must be one of {', '.join(programs)}, got {program!r}")
path = str(HERE / f"{program}.py")
try:
    runpy.run_path(path)  # not imported: one process may run it for many previews
except InfraError as error:
    line = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path][-1]
    raise pulumi.RunError(f"{program}.py, line {line}: {error}") from None
