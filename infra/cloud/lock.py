"""Locks that the kernel gives back: whoever holds one is alive."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_STEP_S = 0.02


def acquire(path: Path, timeout_s: float = 0.0) -> int | None:
    """Lock a file for this process and whoever inherits the descriptor; None when it stays taken.

    The caller closes the descriptor, or ends: either gives the lock back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_STEP_S)  # flock has no timeout of its own
        else:
            return descriptor


def is_held(path: Path) -> bool:
    """Whether some process holds the lock."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def held(path: Path, timeout_s: float) -> Iterator[bool]:
    """Hold a lock for a while; yields whether it could be had."""
    descriptor = acquire(path, timeout_s)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
