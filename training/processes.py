"""The processes that a run has started, known by a mark in their environment, which they all inherit."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

PACE_S = 0.02
GRACE_S = 20.0


def marked(mark: str) -> list[int]:
    """Ids of the processes, this one aside, that began with the mark (`NAME=value`) in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def below(process: int) -> list[int]:
    """Ids of the processes that a process has started, and that those have; none without /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if Path("/proc/self/stat").exists() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        waiting += (some := children.get(waiting.pop(), []))
        found += some
    return found


def await_end(
    mark: str,
    *,
    grace_s: float = GRACE_S,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return when no marked process is left; those that outlive the grace are killed. Does nothing without /proc."""
    if not Path("/proc/self/environ").exists():
        return
    deadline = clock() + grace_s
    while left := marked(mark):
        if clock() >= deadline:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        pause(PACE_S)
