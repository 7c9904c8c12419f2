"""Process groups that must not outlive the cloud."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

_WATCHDOG = Path(__file__).with_name("watchdog.py")


class Groups:
    """Starts the watchdog and tells it which process groups to end when this process is gone.

    Args:
        keep: file descriptors that the watchdog inherits: a lock among them is held until it, too, has left.
    """

    def __init__(self, keep: tuple[int, ...] = ()) -> None:
        self._watchdog = subprocess.Popen(  # noqa: S603 - our own script, by this interpreter
            [sys.executable, "-I", "-S", str(_WATCHDOG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=keep,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def add(self, group: int) -> None:
        """Guard a process group."""
        self._tell(f"+{group}\n")

    def end(self, group: int) -> None:
        """SIGKILL whatever is left of a group, and forget it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let the watchdog end what is left, and wait for it."""
        if self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
        self._watchdog.wait()

    def _tell(self, line: str) -> None:
        if self._watchdog.stdin is None:  # pragma: no cover - it was made with a pipe
            raise RuntimeError("the watchdog has no standard input")
        self._watchdog.stdin.write(line)
        self._watchdog.stdin.flush()
