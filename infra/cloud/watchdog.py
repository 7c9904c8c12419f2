"""Ends the cloud's process groups when the cloud is gone, however it went.

Run as a script (standard library only, so that it starts in milliseconds and stays small): it reads lines `+PGID` and
`-PGID` from standard input, whose other end only the cloud holds. At end of file, which the kernel delivers even after
a SIGKILL, the groups that are left get SIGTERM, and SIGKILL after a grace. It works for servers that start workers of
their own, where a parent-death signal would only reach the first process.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_S = 5.0
_STEP_S = 0.05


def end(groups: set[int], grace_s: float = GRACE_S) -> None:
    """SIGTERM to every process group, then SIGKILL to those that outlive `grace_s` seconds."""
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(_signal(group, 0) for group in groups) and time.monotonic() < deadline:
        time.sleep(_STEP_S)  # orphans: no event tells a process of its neighbours' end
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group was still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False


def main() -> None:
    """Follow the cloud's list of groups until the cloud is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it leaves last, by end of file only
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end(groups)


if __name__ == "__main__":
    main()
