"""One host of a training job: a process, or a container; its log, line by line; its end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.cloud import docker
from infra.cloud.errors import InstanceError
from infra.cloud.groups import Groups
from infra.cloud.instances import INHERITED

MOST_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class HostSpec:
    """How to start a host.

    Attributes:
        command: the process's words; for a container, those behind the image.
        image: run as a container; None: as a process.
        network: the container's network, where hosts must find each other by name.
    """

    name: str
    base: Path
    log: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    image: str | None = None
    network: str | None = None
    label: str = ""
    container: str = ""


@dataclass
class Host:
    """A running host."""

    spec: HostSpec
    process: asyncio.subprocess.Process
    groups: Groups
    _offset: int = 0
    _rest: bytes = field(default=b"")

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        return await self.process.wait()

    def lines(self, *, last: bool = False) -> list[str]:
        """Lines of its log since the last call; with `last`, one without an end as well."""
        with self.spec.log.open("rb") as file:
            file.seek(self._offset)
            data = file.read(MOST_READ_BYTES)
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if last and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in whole if line.strip()]

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, SIGKILL after the grace; nothing of it is left. The exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)  # docker passes it on to its container
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.process.wait()
        await self.clear()
        return await self.process.wait()

    async def clear(self) -> None:
        """End what is left of its process group, and its container."""
        if self.spec.image is not None:
            await asyncio.to_thread(docker.remove, self.spec.container)
        self.groups.end(self.process.pid)


async def start(spec: HostSpec, groups: Groups) -> Host:
    """Start a host.

    Raises:
        InstanceError: it cannot be started.
    """
    words, environment = spec.command, _inherited(spec)
    if spec.image is not None:
        words, environment = await _container(spec), docker.environment()
    process = await groups.spawn(words, environment, spec.log)
    return Host(spec, process, groups)


def _inherited(spec: HostSpec) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PYTHONUNBUFFERED": "1",
        **spec.environment,
        "SAGESTAGE_BASE_DIR": str(spec.base),
    }


async def _container(spec: HostSpec) -> tuple[str, ...]:
    variables = [word for name, value in spec.environment.items() for word in ("--env", f"{name}={value}")]
    network = ("--network", spec.network, "--network-alias", spec.name) if spec.network else ()
    options = (*network, "--hostname", spec.name, "--volume", f"{spec.base}:/opt/ml", *variables)
    try:
        return await docker.create(spec.container, spec.label, *options, str(spec.image), *spec.command)
    except docker.DockerError as error:
        raise InstanceError(str(error)) from error
