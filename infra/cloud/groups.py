"""Process groups that must not outlive the cloud."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.cloud.errors import InstanceError

_WATCHDOG = Path(__file__).with_name("watchdog.py")


class Groups:
    """Starts the watchdog and tells it which process groups to end when this process is gone.

    Args:
        keep: file descriptors that the watchdog inherits: a lock among them is held until it, too, has left.
    """

    def __init__(self, keep: tuple[int, ...] = ()) -> None:
        self._keep = keep
        self._alive: set[int] = set()
        self._watchdog = self._watch()

    def add(self, group: int) -> None:
        """Guard a process group."""
        self._alive.add(group)
        self._tell(f"+{group}\n")

    async def spawn(
        self, words: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> asyncio.subprocess.Process:
        """Start a process in a group of its own, guard the group, and let the process print into a file.

        It runs where this package's folder is, so that `python -m` finds the packages of a checkout.

        Raises:
            InstanceError: it cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    cwd=Path(__file__).parents[2],
                    start_new_session=True,
                )
        except OSError as error:
            raise InstanceError(f"cannot start {words[0]}: {error}") from error
        self.add(process.pid)
        return process

    def end(self, group: int) -> None:
        """SIGKILL whatever is left of a group, and forget it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self._alive.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let the watchdog end what is left, and wait for it."""
        with contextlib.suppress(BrokenPipeError):
            self._watchdog.communicate()

    def _watch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own script, by this interpreter
            [sys.executable, "-I", "-S", str(_WATCHDOG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=self._keep,
            start_new_session=True,
        )

    def _tell(self, line: str) -> None:
        try:
            os.write(_input(self._watchdog), line.encode())
        except BrokenPipeError:  # someone killed it: the next one learns all that it knew
            self._watchdog.communicate()
            self._watchdog = self._watch()
            known = "".join(f"+{group}\n" for group in self._alive)
            os.write(_input(self._watchdog), known.encode())


def _input(process: subprocess.Popen[bytes]) -> int:
    if process.stdin is None:
        raise ValueError("started without a pipe")
    return process.stdin.fileno()
