"""One instance: a process of the inference server, its port, its health and its log."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from infra.cloud import docker, drill
from infra.cloud.errors import InstanceError
from infra.cloud.groups import Groups
from infra.cloud.options import INVOCATION_TIMEOUT_S, Options

PING_TIMEOUT_S = 2.0  # GET /ping is answered within 2 s (SageMaker developer guide)
TERMINATION_GRACE_S = 30.0  # SIGKILL comes 30 s after SIGTERM (likewise)
FAILURE_REASON_LENGTH = 1024  # botocore: FailureReason max
_FIRST_PING_S, _SLOWEST_PING_S = 0.02, 0.5
_TAIL_LINES, _TAIL_BYTES = 12, 4096
# What a container would not inherit is kept from the process, but for what an interpreter needs to start.
INHERITED = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
_CONTAINER_PORT = 8080  # where SageMaker asks a container
_PORTS = range(
    10_240, 32_768
)  # below Linux's ephemeral range: no outgoing connection takes a port between choice and use


@dataclass(frozen=True)
class InstanceSpec:
    """How to start one instance of a variant."""

    variant: str
    base_dir: Path
    environment: Mapping[str, str]
    log: Path
    startup_timeout_s: float
    image: str | None = None


class Instance:
    """A running process, healthy once `wait_healthy` has returned. `outstanding` counts its open requests."""

    def __init__(
        self,
        spec: InstanceSpec,
        port: int,
        process: asyncio.subprocess.Process,
        groups: Groups,
        timeout_s: float = INVOCATION_TIMEOUT_S,
        container: str | None = None,
    ) -> None:
        self.spec = spec
        self.port = port
        self.outstanding = 0
        self._process = process
        self._groups = groups
        self._container = container
        self._idle = asyncio.Event()
        self.models: dict[str, None] = {}  # that it has loaded, in multi-model mode; the one used last stands last
        self.url = URL(f"http://127.0.0.1:{port}")
        self.invocations = self.url / "invocations"  # parsed once, not for every request
        self._pinged = self.url / "ping"
        # A session of its own: its idle connections are closed before the process is asked to leave.
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        )

    @property
    def pid(self) -> int:
        """The process id, and the id of its process group."""
        return self._process.pid

    async def ping(self) -> bool:
        """Whether GET /ping answers 200 in time."""
        try:
            timeout = aiohttp.ClientTimeout(total=PING_TIMEOUT_S)
            async with self.session.get(self._pinged, timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def exited(self) -> int:
        """Wait for the process to end; its exit code, negative for a signal."""
        return await self._process.wait()

    async def wait_healthy(self) -> None:
        """Wait until /ping answers 200.

        Raises:
            InstanceError: the process ended, or the start-up timeout passed; holds its last lines.
        """
        ended = asyncio.ensure_future(self.exited())
        pause = _FIRST_PING_S
        try:
            async with asyncio.timeout(self.spec.startup_timeout_s):
                while not ended.done():
                    if await self.ping():
                        return
                    await asyncio.wait({ended}, timeout=pause)
                    pause = min(2 * pause, _SLOWEST_PING_S)
            cause = f"its process ended with exit code {ended.result()}"
        except TimeoutError:
            cause = f"no 200 within {self.spec.startup_timeout_s:g} s"
        finally:
            ended.cancel()
        reason = (
            f"The primary container for production variant {self.spec.variant} did not pass the ping health check"
            f" ({cause}). Its last lines:\n"
        )
        raise InstanceError(reason + tail(self.spec.log)[-(FAILURE_REASON_LENGTH - len(reason)) :])

    def took(self) -> None:
        """A request begins."""
        self.outstanding += 1

    def gave(self) -> None:
        """A request is over."""
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()

    async def drain(self, timeout_s: float = INVOCATION_TIMEOUT_S) -> None:
        """Wait for open requests; the caller has taken the instance out of the routing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.outstanding:
                    self._idle.clear()
                    await self._idle.wait()

    async def stop(self, grace_s: float = TERMINATION_GRACE_S) -> None:
        """SIGTERM, SIGKILL after the grace; nothing of its process group is left."""
        await self.session.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._process.wait()
        if self._container is not None:
            await asyncio.to_thread(docker.remove, self._container)
        self._groups.end(self.pid)
        await self._process.wait()


class Launcher:
    """Starts instances with the container contract in their environment."""

    def __init__(self, options: Options, groups: Groups) -> None:
        self._options = options
        self._groups = groups

    async def launch(self, spec: InstanceSpec) -> Instance:
        """Start an instance and wait until it is healthy; a failed one is gone when this raises.

        Raises:
            InstanceError: it did not start.
        """
        port = _free_port()
        name = None if spec.image is None else f"sagestage-{spec.variant[:40]}-{uuid.uuid4().hex[:12]}"
        words, environment = self._command(spec), self._environment(spec, port)
        if name is not None:
            words, environment = await self._container(spec, port, name), docker.environment()
        process = await self._groups.spawn(words, environment, spec.log)
        instance = Instance(spec, port, process, self._groups, self._options.invocation_timeout_s, name)
        try:
            await instance.wait_healthy()
        except BaseException:
            await instance.stop(grace_s=0)
            raise
        return instance

    def _command(self, spec: InstanceSpec) -> tuple[str, ...]:
        """What runs an instance; a model that was made for a drill is run behind its fault."""
        if (spec.base_dir / "model" / drill.FILE).is_file():
            return (sys.executable, "-m", "infra.cloud.drill", *self._options.serve_command)
        return self._options.serve_command

    async def _container(self, spec: InstanceSpec, port: int, name: str) -> tuple[str, ...]:
        """What runs an instance as SageMaker does: the image's own `serve`, with the model read-only."""
        variables = {"AWS_REGION": self._options.region, "AWS_DEFAULT_REGION": self._options.region}
        variables |= {**spec.environment, "SAGEMAKER_BIND_TO_PORT": str(_CONTAINER_PORT)}
        options = ["--publish", f"127.0.0.1:{port}:{_CONTAINER_PORT}"]
        options += ["--volume", f"{spec.base_dir / 'model'}:/opt/ml/model:ro"]
        many = spec.base_dir / "models"  # of a multi-model endpoint, which names them by where they lie
        options += ["--volume", f"{many}:{many}:ro"] if "SAGEMAKER_MULTI_MODEL" in spec.environment else []
        for variable, value in variables.items():
            options += ["--env", f"{variable}={value}"]
        try:
            return await docker.create(name, str(self._options.home), *options, str(spec.image), "serve")
        except docker.DockerError as error:
            raise InstanceError(str(error)) from error

    def _environment(self, spec: InstanceSpec, port: int) -> dict[str, str]:
        options = self._options
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            # A container finds its role's credentials and its region: here they lead back to this cloud.
            "AWS_ENDPOINT_URL": options.url,
            "AWS_ACCESS_KEY_ID": "sagestage",
            "AWS_SECRET_ACCESS_KEY": "sagestage",
            "AWS_REGION": options.region,
            "AWS_DEFAULT_REGION": options.region,
            **spec.environment,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGESTAGE_BASE_DIR": str(spec.base_dir),
            "SAGESTAGE_HOST": "127.0.0.1",
        }


def _free_port() -> int:
    """A port that nothing listens on; drawn from thousands, so that two clouds do not meet."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise InstanceError(f"no free port among 200 tried between {_PORTS[0]} and {_PORTS[-1]}")


def tail(log: Path) -> str:
    """The last lines of a log, or a word that there are none."""
    data = log.read_bytes()[-_TAIL_BYTES:] if log.exists() else b""
    lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL_LINES:]) or "(it printed nothing)"
