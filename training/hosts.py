"""Several hosts of one training job: the first leads and drives, the others lend their CPUs and GPUs until it ends.

They find each other by the names that SageMaker gives them. Each of the others keeps a connection to the first, on
which both say every second that they are there: a host that is gone is noticed within seconds, whatever Ray is doing,
and ends the job on all of them with a reason. Ray's processes are children of this one and end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from training import processes
from training.errors import ConfigError, TrainingError

CONTROL_PORT, RAY_PORT = 7_979, 6_379
DEADLINE_S = 600.0
"""Machines of one job start within minutes of each other."""
BEAT_S, SILENCE_S = 1.0, 15.0
"""How often a host says that it is there, and after what silence it is taken for lost."""
RETRY_S = 0.25
RAY_GRACE_S = 10.0
MARK = "SAGESTAGE_HOST_RAY"
"""Stands in the environment of what this host's Ray starts."""
OBJECT_STORE_BYTES = 256 * 2**20
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a job.

    Attributes:
        current: this one.
        names: of all, in order; the first leads.
        interface: the network interface by which they reach each other; empty where it was not said.
    """

    current: str
    names: tuple[str, ...]
    interface: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Hosts:
        """From resourceconfig.json.

        Raises:
            ConfigError: the names do not go together.
        """
        names = tuple(sorted(config.get("hosts", ["localhost"])))
        current = str(config.get("current_host", names[0]))
        if current not in names or len(set(names)) != len(names):
            raise ConfigError(
                [f"resourceconfig.json: host {current!r} is not one of {', '.join(names)}, each named once"]
            )
        return cls(current, names, str(config.get("network_interface_name", "")))

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.names) > 1

    @property
    def leads(self) -> bool:
        """Whether this host drives the job."""
        return self.current == self.names[0]

    @property
    def others(self) -> tuple[str, ...]:
        """All but the first."""
        return self.names[1:]


@dataclass(frozen=True, slots=True)
class Joined:
    """A Ray of several hosts, as its driver sees it.

    Attributes:
        address: of its head.
        here: this host's address.
        cpus: of all hosts together.
        token: that Ray asks everybody for.
    """

    address: str
    here: str
    hosts: int
    cpus: int
    token: str = field(repr=False)
    deadline_s: float = DEADLINE_S

    @property
    def environment(self) -> dict[str, str]:
        """What Ray must find in the environment."""
        return SETTINGS | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


class _Line:
    """A connection on which both ends send lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_S)
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        with self._sending:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def messages(self) -> Iterator[Message]:
        """What the other end sends, but its beats. Ends when it is silent or gone."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._reader:
                if message := json.loads(line):
                    yield message

    def beat(self, over: threading.Event) -> None:
        """Say that this end is there, until it is over."""
        with contextlib.suppress(OSError):
            while not over.wait(BEAT_S):
                self.send()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


@dataclass
class _Ray:
    """A node of Ray as a child of this process."""

    here: str
    interface: str
    token: str = field(default="", repr=False)
    process: subprocess.Popen[bytes] | None = None
    folder: Path = field(default_factory=Path)

    def start(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets need a short path
        # The SDK's local mode names one (ethwe) that its containers do not have.
        known = self.interface in [name for _, name in socket.if_nameindex()]
        names = {"GLOO_SOCKET_IFNAME": self.interface, "NCCL_SOCKET_IFNAME": self.interface} if known else {}
        command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
        command += [f"--node-ip-address={self.here}", f"--num-cpus={cpus()}", "--disable-usage-stats"]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false", *arguments]
        if "--head" in arguments:  # the others take over where it keeps its files
            command += [f"--temp-dir={self.folder}", "--no-monitor"]  # no autoscaler: the hosts are those of the job
        log = (self.folder / "start.log").open("wb")
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter
            command,
            env={
                **os.environ, **SETTINGS, **names, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
                MARK: str(self.folder),
            },
            stdout=log,
            stderr=log,
        )  # fmt: skip

    def answers(self, port: int, deadline_s: float) -> None:
        """Wait until it does.

        Raises:
            TrainingError: it ended, or takes too long.
        """
        end = monotonic() + deadline_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.here, port), timeout=1.0):
                return
            if self.process is not None and self.process.poll() is not None:
                log = (self.folder / "start.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise TrainingError(f"Ray ended as it started: {' '.join(log)}")
            if monotonic() >= end:
                raise TrainingError(f"Ray did not answer on port {port} within {deadline_s:g} s")
            sleep(RETRY_S)

    def stop(self) -> None:
        if self.process is None:
            return
        started = processes.below(self.process.pid)  # some of them hide the environment that they were given
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(RAY_GRACE_S)
        self.process.kill()
        self.process.wait()
        for one in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        processes.await_end(f"{MARK}={self.folder}", grace_s=RAY_GRACE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # as in training.ray_train
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def cpus() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _address(name: str) -> str:
    return socket.gethostbyname(name)


class Lead:
    """The first host: gathers the others, starts the head of Ray, and tells them how the job ended.

    Args:
        on_lost: called in a thread of its own with the reason, once, when a host is lost.

    Raises:
        TrainingError: not all hosts came in time.
    """

    def __init__(self, hosts: Hosts, on_lost: Callable[[str], None], *, deadline_s: float = DEADLINE_S) -> None:
        self._hosts, self._on_lost, self._deadline_s = hosts, on_lost, deadline_s
        self._here = _address(hosts.current)
        self._lines: dict[str, _Line] = {}
        self._cpus = cpus()
        self._over = threading.Event()
        self._ray = _Ray(self._here, hosts.interface, secrets.token_hex(32))
        self._lost = threading.Lock()

    def __enter__(self) -> Self:
        try:
            self._ray.start("--head", f"--port={RAY_PORT}", "--include-dashboard=false")
            self._gather()
            self._ray.answers(RAY_PORT, self._deadline_s)
            for name, line in self._lines.items():
                line.send(ray=self.address, token=self._ray.token)
                threading.Thread(target=self._listen, args=(name, line), daemon=True).start()
                threading.Thread(target=line.beat, args=(self._over,), daemon=True).start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    @property
    def address(self) -> str:
        """Of the head of Ray."""
        return f"{self._here}:{RAY_PORT}"

    @property
    def joined(self) -> Joined:
        """What the driver needs to know."""
        return Joined(self.address, self._here, len(self._hosts.names), self._cpus, self._ray.token, self._deadline_s)

    def _gather(self) -> None:
        """Take a connection from each of the other hosts."""
        end = monotonic() + self._deadline_s
        with socket.create_server((self._here, CONTROL_PORT)) as server:
            while missing := [name for name in self._hosts.others if name not in self._lines]:
                server.settimeout(max(end - monotonic(), 0.001))
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    raise TrainingError(
                        f"{len(self._lines) + 1} of {len(self._hosts.names)} hosts came within {self._deadline_s:g} s:"
                        f" {', '.join(missing)} did not: look at its log"
                    ) from None
                line = _Line(connection)
                hello: Message = next(line.messages(), {})
                if hello.get("host") in missing:
                    self._lines[hello["host"]] = line
                    self._cpus += int(hello.get("cpus", 0))
                else:
                    line.close()  # no host of this job

    def _listen(self, name: str, line: _Line) -> None:
        reason = f"host {name} was lost: its connection ended"
        for message in line.messages():
            if "failed" in message:
                reason = f"host {name} failed: {message['failed']}"
        if not self._over.is_set() and self._lost.acquire(blocking=False):
            self._on_lost(reason)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for line in self._lines.values():
            with contextlib.suppress(OSError):
                line.send(end=None if error is None else str(error) or type(error).__name__)
            line.close()
        self.stop()

    def stop(self) -> None:
        """End this host's Ray."""
        self._ray.stop()


def follow(hosts: Hosts, *, deadline_s: float = DEADLINE_S) -> None:
    """Any other host: lend this machine to the first one until the job is over.

    Raises:
        TrainingError: the job failed, or the first host did not come or was lost.
    """
    line = _connected(hosts, deadline_s)
    over = threading.Event()
    ray = _Ray(_address(hosts.current), hosts.interface)
    try:
        line.send(host=hosts.current, cpus=cpus())
        threading.Thread(target=line.beat, args=(over,), daemon=True).start()
        for message in line.messages():
            if "ray" in message:
                ray.token = message["token"]
                ray.start(f"--address={message['ray']}")
                threading.Thread(target=_watch, args=(ray, line, over), daemon=True).start()
            elif "end" in message:
                if message["end"] is not None:
                    raise TrainingError(f"host {hosts.names[0]}, which leads, failed: {message['end']}")
                return
        raise TrainingError(f"host {hosts.names[0]}, which leads, was lost: its connection ended")
    finally:
        over.set()
        line.close()
        ray.stop()


def _watch(ray: _Ray, line: _Line, over: threading.Event) -> None:
    """Tell the first host when this host's Ray ends before the job does."""
    if ray.process is not None:
        code = ray.process.wait()
        if not over.is_set():
            with contextlib.suppress(OSError):
                line.send(failed=f"its Ray ended with code {code}")


def _connected(hosts: Hosts, deadline_s: float) -> _Line:
    end = monotonic() + deadline_s
    while True:
        try:
            connection = socket.create_connection((_address(hosts.names[0]), CONTROL_PORT), timeout=SILENCE_S)
        except OSError as error:  # it may not have started yet, nor have its name
            if monotonic() >= end:
                raise TrainingError(
                    f"host {hosts.names[0]}, which leads, could not be reached within {deadline_s:g} s: {error}"
                ) from None
            sleep(RETRY_S)
        else:
            line = _Line(connection)
            connection.settimeout(max(deadline_s, SILENCE_S))  # until all have come
            return line
