"""Starting, stopping and finding the embedded cloud. Imports neither moto nor aiohttp: the command line uses it.

A running cloud holds the lock `home/cloud.lock`, and so does its watchdog until the last process that the cloud started
is gone. The kernel gives the lock back however they end, so a held lock, and nothing else, means that a cloud runs;
`home/cloud.json` only says which.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.cloud import lock
from infra.cloud.errors import CloudError
from infra.cloud.guard import require_loopback
from infra.cloud.journal import forget
from infra.cloud.options import require_sensible

RECORD, LOCK, LOG = "cloud.json", "cloud.lock", "cloud.log"
_START_LOCK = "start.lock"
_STOP_GRACE_S = 20.0
_KILL_GRACE_S = 15.0
_LOG_LINES = 5


class CloudInfo(BaseModel):
    """A running cloud. `id` is that of what it has: a cloud that was killed and started again keeps it."""

    model_config = ConfigDict(frozen=True)

    id: str
    pid: int
    host: str
    port: int
    url: str
    region: str
    account: str
    home: Path
    serve_image: str
    max_instances: int
    time_scale: float = 1.0
    hosting: str = "process"


def status(home: Path) -> CloudInfo | None:
    """The cloud that runs in `home`, or None; a record that a killed cloud left behind counts for nothing."""
    if not lock.is_held(home / LOCK):
        return None
    with contextlib.suppress(FileNotFoundError, ValidationError):
        info = CloudInfo.model_validate_json((home / RECORD).read_bytes())
        if _runs(info.pid):  # otherwise only its watchdog is left, for a moment
            return info
    return None


def start(  # noqa: PLR0913 - the settings of a cloud, by keyword
    home: Path,
    *,
    port: int | None = None,
    host: str | None = None,
    region: str | None = None,
    serve_image: str | None = None,
    serve_command: tuple[str, ...] | None = None,
    train_command: tuple[str, ...] | None = None,
    hosting: str | None = None,
    max_instances: int | None = None,
    time_scale: float | None = None,
    seed: int | None = None,
    fresh: bool = False,
    timeout_s: float = 60,
) -> CloudInfo:
    """Start a cloud that outlives this process, and wait until it answers.

    One that already runs in `home` is returned as it is; a setting that is given must be the one that it runs with.
    Of two starts at once, one wins and both return the same cloud. What a cloud that was killed here had (endpoints,
    models, S3 objects, alarms …) comes back from its journal.

    Args:
        home: the folder for its files.
        port: the port to listen on; None takes 4577, or a free one when that is taken.
        host: a loopback address; None is 127.0.0.1.
        region: the region of calls that carry no signature; None is us-east-1.
        serve_image: a pattern: models whose image matches are run as processes; None is *sagestage-inference*.
        serve_command: what runs an instance; None is the inference server.
        train_command: what runs a training job; None is `python -m training train`.
        hosting: whether sagestage's images run as a process or as a container; None is process.
        max_instances: the most processes that one variant gets; None is 2.
        time_scale: how much faster waits, alarm periods and cooldowns pass; None is 1.
        seed: makes variant choice and capture sampling repeatable.
        fresh: forget what a cloud that was killed here had.
        timeout_s: seconds to wait for it.

    Raises:
        CloudError: the port is taken, the address is not loopback, a cloud with other settings runs, or it failed.
    """
    if host is not None:
        require_loopback(host)
    require_sensible(port, max_instances, time_scale)
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CloudError(f"cannot use {home} for the cloud's files: {error.strerror}") from error
    with lock.held(home / _START_LOCK, timeout_s) as mine:
        if not mine:
            raise CloudError(f"another start in {home} is still under way after {timeout_s:g} s: wait for it")
        settings = {
            "port": port,
            "host": host,
            "region": region,
            "serve_image": serve_image,
            "max_instances": max_instances,
            "time_scale": time_scale,
            "hosting": hosting,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        running = status(home)
        if running is not None:
            return _same(running, given)
        arguments = ["--home", str(home)]
        for name, value in given.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        if fresh:
            arguments.append("--fresh")
        if seed is not None:
            arguments += ["--seed", str(seed)]
        if serve_command is not None:
            arguments += ["--serve-command", json.dumps(serve_command)]
        if train_command is not None:
            arguments += ["--train-command", json.dumps(train_command)]
        return _launch(home, arguments, timeout_s)


def stop(home: Path, *, keep: bool = False) -> bool:
    """End the cloud in `home` and every process that it started.

    Args:
        home: its folder.
        keep: let the next start bring back what it had; otherwise that is gone, as with a test's account.

    Returns:
        Whether one ran. When this returns, nothing of it is left.

    Raises:
        CloudError: it could not be ended.
    """
    home = home.resolve()
    if not home.exists():
        return False
    with lock.held(home / _START_LOCK, _STOP_GRACE_S) as mine:
        if not mine:
            raise CloudError(f"a start in {home} is under way: wait for it, then stop")
        stopped = _stop(home)
        if not keep:
            forget(home)
        return stopped


def _stop(home: Path) -> bool:
    running = status(home)
    if running is not None:
        for number, grace_s in ((signal.SIGTERM, _STOP_GRACE_S), (signal.SIGKILL, _KILL_GRACE_S)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, number)
            if _wait_for_end(home, grace_s):
                break
        else:
            raise CloudError(f"the cloud (pid {running.pid}) does not end: see {home / LOG}")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(running.pid, os.WNOHANG)  # where this process was the one that started it
    elif not _wait_for_end(home, _KILL_GRACE_S):
        raise CloudError(f"something holds {home / LOCK} but no cloud is recorded: try again in a moment")
    (home / RECORD).unlink(missing_ok=True)
    return running is not None


def _same(running: CloudInfo, given: Mapping[str, object]) -> CloudInfo:
    """The running cloud, when it is what was asked for."""
    for name, value in given.items():
        actual = getattr(running, name)
        if actual != value:
            raise CloudError(f"a cloud with {name} {actual} already runs at {running.url}, not {value}: stop it first")
    return running


def _launch(home: Path, arguments: list[str], timeout_s: float) -> CloudInfo:
    """Start the process in a session of its own; its first line on the ready pipe is its record, or why it failed."""
    root = str(Path(__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)  # noqa: FBT003 - the standard library's signature
        command = [sys.executable, "-m", "infra.cloud", *arguments, "--ready-fd", str(writer)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(home / LOG), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        os.close(writer)
        writer = -1
        line = _read_line(reader, timeout_s)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if line is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise CloudError(f"the cloud did not answer within {timeout_s:g} s: see {home / LOG}")
    answer = json.loads(line or b"{}")
    if "cloud" in answer:
        return CloudInfo.model_validate(answer["cloud"])
    os.waitpid(pid, 0)
    said = (home / LOG).read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
    raise CloudError(answer.get("error") or f"the cloud ended at once: {' | '.join(said) or 'it printed nothing'}")


def _runs(pid: int) -> bool:
    """Whether a process has not ended; one that this process started is reaped when it has."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
    return False


def _read_line(reader: int, timeout_s: float) -> bytes | None:
    """What comes before the other end is closed; None when that takes longer."""
    deadline = time.monotonic() + timeout_s
    data = b""
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(reader, 65_536)
        if not chunk:
            return data
        data += chunk
    return None


def _wait_for_end(home: Path, timeout_s: float) -> bool:
    """Wait until the cloud and its watchdog, hence every process, are gone."""
    with lock.held(home / LOCK, timeout_s) as free:
        return free
