from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from training import processes
from training.processes import await_end, marked

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def start(mark: str) -> subprocess.Popen[bytes]:
    name, _, value = mark.partition("=")
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], env=os.environ | {name: value}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_marked_process_is_found_and_killed_when_its_grace_is_over() -> None:
    mark = f"SAGESTAGE_TEST={os.getpid()}-killed"
    with start(mark) as process:
        assert marked(mark) == [process.pid]
        await_end(mark, grace_s=0.0)
        assert process.wait() == -signal.SIGKILL
    assert marked(mark) == []


def test_waiting_ends_when_the_process_does() -> None:
    mark = f"SAGESTAGE_TEST={os.getpid()}-ended"
    with start(mark) as process:
        await_end(mark, grace_s=60.0, pause=lambda _seconds: process.kill())
    assert marked(mark) == []


def test_nothing_marked_nothing_waited_for() -> None:
    await_end("SAGESTAGE_TEST=nobody")


def test_what_a_process_started_is_known_to_the_last_one() -> None:
    command = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    with subprocess.Popen(command) as process:
        while not (found := processes.below(process.pid)):
            time.sleep(0.01)
        assert set(found) < set(processes.below(os.getpid()))
        process.kill()
        for one in found:
            os.kill(one, signal.SIGKILL)
