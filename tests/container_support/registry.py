"""Engines of their own, apart from this machine's, and Debian's docker-registry beside them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.container_support.docker import absent

PASSWORDS = {  # bcrypt, at its lowest cost
    "right": "$2b$04$MnrUTvDCzZXyQP30qzrYp.iKFOfBcS99sFRP4CD7LUYYpaZyyhENK",
    "123456789012-auth-token": "$2b$04$GE/WtaCAxzL0gU9nwyytp.BEqOl6/.58jIl0i/iwctKz78KQgIGD6",  # moto's token of ECR
}


@dataclass
class Engine:
    """An engine: its address, and the process whose network it has."""

    address: str
    pid: int

    def call(self, *words: str, given: bytes | None = None) -> str:
        here = {**os.environ, "DOCKER_HOST": self.address}
        done = subprocess.run(["docker", *words], env=here, input=given, capture_output=True, check=True)
        return done.stdout.decode()


@contextmanager
def own_engine(data: Path, *options: str, before: Sequence[str] = ()) -> Iterator[Engine]:
    """An engine without a bridge, in a network of its own: beside a bridge it would remove that of others.

    Args:
        data: where it keeps its images.
        options: of dockerd.
        before: shell commands, in its network and mounts.
    """
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        absent("an engine of its own needs dockerd and root")
    run = Path(tempfile.mkdtemp(prefix="sagestage-test-", dir="/run"))
    address = f"unix://{run}/docker.sock"
    words = ["dockerd", "--data-root", str(data), "--exec-root", str(run / "exec"), "-H", address]
    words += ["--pidfile", str(run / "pid"), "--bridge", "none", "--iptables=false", "--ip-forward=false", *options]
    script = " && ".join([*before, 'exec "$@"'])
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        here = {**os.environ, "DOCKER_HOST": address}
        for _ in range(300):
            if subprocess.run(["docker", "version"], env=here, capture_output=True, check=False).returncode == 0:
                break
            assert process.poll() is None, "the engine ended as it started"
        yield Engine(address, process.pid)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(run, ignore_errors=True)


@dataclass
class Registry:
    """A registry beside an engine: the folder that it keeps its things in."""

    folder: Path

    def demand(self, user: str, password: str) -> None:
        """Whom it lets in from now on."""
        (self.folder / "passwords").write_text(f"{user}:{PASSWORDS[password]}\n")

    def has(self, name: str, digest: str) -> bool:
        """Whether an image was pushed to it."""
        revisions = self.folder / "data/docker/registry/v2/repositories" / name / "_manifests/revisions"
        return (revisions / digest.replace(":", "/")).is_dir()


@contextmanager
def registry(beside: Engine, folder: Path, port: int, *, closed: bool) -> Iterator[Registry]:
    """A registry on the loopback of an engine's network; a closed one asks for a name and a password."""
    program = shutil.which("docker-registry")
    if program is None:
        absent("there is no registry to push to: apt-get install docker-registry")
    made = Registry(folder)
    auth = f"auth: {{htpasswd: {{realm: here, path: {folder}/passwords}}}}\n" if closed else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    )
    made.demand("somebody", "right")
    words = ["nsenter", f"--net=/proc/{beside.pid}/ns/net", str(program), "serve", str(folder / "config.yml")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        listens = f":{port:04X} 00000000:0000 0A"
        while listens not in Path(f"/proc/{beside.pid}/net/tcp").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)  # another process: no event tells
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
