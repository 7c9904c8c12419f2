"""Real containers for tests: run, look, stop; nothing of them is left."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.cloud import docker
from sagestage.images import source

ROOT = Path(__file__).resolve().parents[2]
INFERENCE, TRAINING = "sagestage-inference:cpu", "sagestage-training:cpu"
REQUIRED = "SAGESTAGE_CONTAINERS"
"""Set to "required" where an engine must run (CI): then nothing is skipped."""


def absent(reason: str) -> None:
    """Skip with the reason; fail where containers are required."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def need_engine() -> None:
    if reason := docker.why_not():
        absent(f"containers cannot run here: {reason}")


def need_image(image: str) -> None:
    """The image must be there, and made of the files of this checkout."""
    need_engine()
    role = image.removeprefix("sagestage-").partition(":")[0]
    try:
        made_of = run("image", "inspect", "--format", '{{index .Config.Labels "sagestage.source"}}', image)
    except docker.DockerError:
        return absent(f"{image} is not built: make images")
    if made_of.strip() != source(ROOT, role):
        absent(f"{image} is not made of these files: make images")
    return None


def run(*words: str, **more: Any) -> str:
    return docker.call(*words, **more)


@dataclass
class Container:
    name: str

    def inspect(self) -> Any:
        return json.loads(run("inspect", self.name))[0]

    def wait(self, timeout_s: float = 280) -> int:
        """Wait for its end; the exit code."""
        return int(run("wait", self.name, timeout_s=timeout_s))

    def logs(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.name], capture_output=True, text=True, check=True, env=docker.environment()
        )
        return done.stdout + done.stderr

    def kill(self, signal: str) -> None:
        run("kill", "--signal", signal, self.name)

    def python(self, program: str) -> str:
        """What a program prints that runs beside the container's own."""
        return run("exec", self.name, "python", "-c", program)

    def follow(self, until: str, timeout_s: float = 280) -> str:
        """Read its log until a line has the text; that line."""
        with subprocess.Popen(
            ["docker", "logs", "--follow", self.name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=docker.environment(),
        ) as reader:  # fmt: skip
            try:
                deadline = time.monotonic() + timeout_s
                for line in reader.stdout or ():
                    if until in line:
                        return line
                    assert time.monotonic() < deadline, self.logs()
            finally:
                reader.kill()
        raise AssertionError(f"{until!r} is not in the log of {self.name}: {self.logs()}")

    def url(self) -> str:
        return "http://" + run("port", self.name, "8080").splitlines()[0].strip()

    def ready(self, timeout_s: float = 120) -> str:
        """Wait until /ping answers 200; the address."""
        url, deadline = self.url(), time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/ping").status_code == httpx.codes.OK:
                    return url
            except httpx.TransportError:
                assert self.inspect()["State"]["Running"], self.logs()
            time.sleep(0.05)  # nothing to wait for in another process
        raise AssertionError(self.logs())


@contextmanager
def running(image: str, *words: str, options: Sequence[str] = (), env: Mapping[str, str] = {}) -> Iterator[Container]:
    """A container that is removed afterwards, by force if need be."""
    container = Container(f"sagestage-test-{uuid.uuid4().hex[:12]}")
    variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    run("run", "--detach", "--name", container.name, *options, *variables, image, *words, what=image)
    try:
        yield container
    finally:
        run("rm", "--force", "--volumes", container.name)


def job(base: Path, hyperparameters: Mapping[str, str], rows: int = 1_500, channel: str = "train") -> Path:
    """A hand-made /opt/ml as SageMaker lays it out."""
    from training import demo  # noqa: PLC0415 - numpy and more, only where a job is made

    (base / "input/config").mkdir(parents=True)
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    (base / "input/config/resourceconfig.json").write_text(
        json.dumps({"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"})
    )
    (base / "input/config/inputdataconfig.json").write_text(
        json.dumps({channel: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}})
    )
    demo.write(base / f"input/data/{channel}/demand.csv", rows=rows)
    return base
