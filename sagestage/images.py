"""`sagestage images build`: the training and serving images, with BuildKit where there is one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.cloud import docker
from sagestage.errors import SagestageError

ROLES = ("inference", "training")
BASE = "python:3.11-slim"
LOCAL_BASE, LOCAL_TOOLS = "local/sagestage-base:py311", "local/sagestage-build:py311"
"""What `containers/engine.sh base` makes where no registry is in reach."""
BUILD_TIMEOUT_S = 3_600.0
_CUDA = """
import importlib.util as u
print((__import__("torch").version.cuda or "none") if u.find_spec("torch") else "none")
"""


@dataclass(frozen=True)
class Base:
    """What both stages of a build begin with, and what it is resolved to."""

    image: str
    tools: str
    resolved: str


@dataclass(frozen=True)
class Wanted:
    """How images are built.

    Attributes:
        device: cpu, or gpu: then the serving image has torch, too. It is the image's tag.
        torch: none, pip or base; "" chooses by role and device.
        index: where torch is taken from, instead of PyPI.
        extras: of the serving image.
        platform: such as linux/arm64; "" is this machine's.
    """

    device: str = "cpu"
    torch: str = ""
    index: str = ""
    extras: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Built:
    """An image that is there."""

    role: str
    tag: str
    digest: str
    base: str
    cuda: str
    megabytes: float
    seconds: float
    builder: str


def base_of(image: str, tools: str) -> Base:
    """The base images: those that are given; python:3.11-slim; what was made from Debian's packages.

    Raises:
        DockerError: the image cannot be pulled.
    """
    if image:
        docker.have(image)
        return Base(image, tools or image, resolved(image))
    try:
        docker.have(BASE)
    except docker.DockerError:
        if not docker.is_here(LOCAL_BASE):
            raise
        return Base(LOCAL_BASE, tools or LOCAL_TOOLS, resolved(LOCAL_BASE))
    return Base(BASE, tools or BASE, resolved(BASE))


def resolved(image: str) -> str:
    """The digest that an image's name stands for now: the registry's, or the image's own where no registry has it."""
    found = json.loads(docker.call("image", "inspect", "--format", "{{json .}}", image))
    return str((found.get("RepoDigests") or [found["Id"]])[0])


def arguments(role: str, wanted: Wanted, base: Base, labels: Mapping[str, str]) -> dict[str, str]:
    """The build arguments; pure."""
    torch = wanted.torch or ("pip" if role == "training" or wanted.device == "gpu" else "none")
    given = {"BASE_IMAGE": base.image, "BUILD_IMAGE": base.tools, "TORCH": torch, "TORCH_INDEX": wanted.index, **labels}
    if wanted.extras and role == "inference":
        given["EXTRAS"] = wanted.extras
    return {name: value for name, value in given.items() if value}


def build(root: Path, role: str, wanted: Wanted, base: Base) -> Built:
    """Build one image and look at it.

    Raises:
        DockerError: one line with the reason and the remedy.
        SagestageError: the project has no such Dockerfile.
    """
    file = root / role / "Dockerfile"
    if not file.is_file():
        raise SagestageError(f"{file} does not exist: run this in a checkout of sagestage")
    begin = time.perf_counter()
    given = arguments(role, wanted, base, labels(root, role))
    engine = builder()
    # The label must be known before the last stage: the first one tells.
    first = f"sagestage-{role}:build-{wanted.device}"
    _build(root, file, given | {"CUDA": "unknown"}, wanted, engine, ("--target", "packages", "--tag", first))
    cuda = docker.call("run", "--rm", "--entrypoint", "/opt/venv/bin/python", first, "-c", _CUDA, what=first).strip()
    tag = f"sagestage-{role}:{wanted.device}"
    tags = ("--tag", tag, "--tag", f"sagestage-{role}:local") if wanted.device == "cpu" else ("--tag", tag)
    _build(root, file, given | {"CUDA": cuda}, wanted, engine, tags)
    found = json.loads(docker.call("image", "inspect", "--format", "{{json .}}", tag))
    seconds = time.perf_counter() - begin
    return Built(role, tag, str(found["Id"]), base.resolved, cuda, found["Size"] / 1e6, seconds, engine)


def labels(root: Path, role: str) -> dict[str, str]:
    """Version and revision of the checkout, and the digest of what the image is made of."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return {"VERSION": str(project["version"]), "REVISION": revision(root), "SOURCE": source(root, role)}


def source(root: Path, role: str) -> str:
    """The sha256 of every file that an image is made of: the same files give the same digest, whatever the commit."""
    packages = ("inference",) if role == "inference" else ROLES
    files = [
        root / name for name in ("pyproject.toml", "constraints.txt", "containers/install.sh", f"{role}/Dockerfile")
    ]
    files += sorted(path for package in packages for path in (root / package).rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def revision(root: Path) -> str:
    """The commit, with a mark where files differ from it; "unknown" outside git."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],  # noqa: S607 - the user's own git
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def builder() -> str:
    """BuildKit where this docker has it (as a plugin, or within, before version 23), or plain."""
    try:
        docker.call("buildx", "version")
    except docker.DockerError:
        client = docker.call("version", "--format", "{{.Client.Version}}").strip()
        return "BuildKit" if int(client.split(".")[0]) < 23 else "plain"
    return "BuildKit"


def _build(root: Path, file: Path, given: Mapping[str, str], wanted: Wanted, engine: str, more: Sequence[str]) -> None:
    words = ["build", "--file", str(file), *more]
    if wanted.platform:
        words += ["--platform", wanted.platform]
    for name, value in given.items():
        words += ["--build-arg", f"{name}={value}"]
    kit = {"DOCKER_BUILDKIT": "1" if engine == "BuildKit" else "0"}
    docker.call(*words, str(root), what=given["BASE_IMAGE"], timeout_s=BUILD_TIMEOUT_S, env=kit)
