"""Ray's processes as the tests see them: by what stands in their environment or command line."""

from __future__ import annotations

import os
from pathlib import Path


def processes(mark: str) -> dict[int, str]:
    """Live processes, this one aside, that have the mark in their arguments or environment; the arguments of each."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if mark.encode() in arguments + environment:
                found[int(entry.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def workers(mark: str) -> list[int]:
    """Those of them that are Ray Train's workers."""
    return [pid for pid, line in processes(mark).items() if line.startswith("ray::") and "TrainWorker" in line]
