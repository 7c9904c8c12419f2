"""Docker's faults, real ones, as a user of `sagestage images` meets them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cloud import docker
from sagestage.images import LOCAL_BASE
from tests.container_support.commands import SAGESTAGE, sagestage, told
from tests.container_support.docker import INFERENCE, ROOT, absent, need_engine, need_image
from tests.container_support.registry import own_engine
from tests.sagestage_support.user import make_project

pytestmark = pytest.mark.slow
ROOT_NEEDED = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_no_docker() -> None:
    told(sagestage("sbom", INFERENCE, PATH="/nowhere"), "there is no docker on the PATH: install Docker")


def test_no_engine(tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        absent("docker is not installed")
    socket = f"unix://{tmp_path}/none.sock"
    told(sagestage("sbom", INFERENCE, DOCKER_HOST=socket), f"no Docker engine answers at {socket}: start Docker")


@ROOT_NEEDED
def test_no_permission(tmp_path: Path) -> None:
    need_engine()
    address = docker.environment().get("DOCKER_HOST", "unix:///var/run/docker.sock")
    program = "from infra.cloud import docker; print(docker.why_not())"
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", program],
        cwd=ROOT, env={**os.environ, "DOCKER_HOST": address, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "no permission to use the Docker engine" in done.stdout, done.stderr
    assert "group docker" in done.stdout


def test_a_base_image_that_cannot_be_pulled() -> None:
    need_engine()
    image = "registry.invalid/base:1"
    told(sagestage("build", "--base-image", image), f"{image} cannot be pulled", "no such host")


@pytest.fixture
def foreign() -> Iterator[str]:
    """An image for another processor: an arm64 one with this machine's or no program in it."""
    need_engine()
    tag = "sagestage-inference:foreign"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
        (Path(folder) / "run").chmod(0o755)
        (Path(folder) / "Dockerfile").write_text('FROM scratch\nCOPY run /run\nENTRYPOINT ["/run"]\n')
        docker.call("build", "--quiet", "--tag", tag, folder, env={"DOCKER_BUILDKIT": "0"})
        whole = Path(folder) / "image.tar"
        docker.call("save", "--output", str(whole), tag)
        with tarfile.open(whole) as old, tarfile.open(Path(folder) / "new.tar", "w") as new:
            for member in old:
                file = old.extractfile(member)
                content = b"" if file is None else file.read()
                content = content.replace(b'"architecture":"amd64"', b'"architecture":"arm64"')
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
        docker.call("rmi", tag)
        docker.call("load", "--input", str(Path(folder) / "new.tar"))
    yield tag
    docker.call("rmi", "--force", tag)


def test_an_image_for_another_processor(foreign: str, tmp_path: Path) -> None:
    told(sagestage("sbom", foreign), f"{foreign} is for another processor than this machine's")
    make_project(tmp_path)
    docker.call("tag", foreign, "sagestage-inference:gpu")
    try:
        answer = sagestage("push", "--stack", "staging", "--device", "gpu", folder=tmp_path)
    finally:
        docker.call("rmi", "sagestage-inference:gpu")
    told(answer, "is for arm64, and the machines are amd64", "--platform linux/amd64")


@ROOT_NEEDED
def test_a_full_disk(tmp_path: Path) -> None:
    """An engine of its own on a small disk."""
    need_engine()
    if not docker.is_here(LOCAL_BASE):
        absent("needs the base image of containers/engine.sh")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        absent(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        with own_engine(disk) as small:
            save = ["docker", "save", LOCAL_BASE]
            with subprocess.Popen(save, env=docker.environment(), stdout=subprocess.PIPE) as saved:
                here = {**os.environ, "DOCKER_HOST": small.address}
                subprocess.run(["docker", "load"], env=here, stdin=saved.stdout, check=True, capture_output=True)
            free = shutil.disk_usage(disk).free
            (disk / "filler").write_bytes(bytes(max(0, free - 2**20)))
            words = ("build", "--role", "inference", "--base-image", LOCAL_BASE)
            told(sagestage(*words, DOCKER_HOST=small.address), f"the disk of the Docker engine is full ({disk})")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_the_bill_of_materials_is_valid_and_has_what_constraints_pin() -> None:
    need_image(INFERENCE)
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - one use
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415 - likewise

    done = subprocess.run(
        [SAGESTAGE, "images", "sbom", INFERENCE], env=docker.environment(), cwd=ROOT, capture_output=True, check=True
    )
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(done.stdout.decode()) is None
    found = json.loads(done.stdout)["components"]
    packages = [one for one in found if one["purl"].startswith("pkg:pypi")]
    python = {one["name"].lower().replace("_", "-"): one["version"] for one in packages}
    assert not {"torch", "ray", "pulumi", "moto", "boto3", "onnxruntime"} & python.keys()
    assert {"httptools", "numpy", "pydantic", "sagestage"} <= python.keys()
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    base = {"setuptools", "pip", "wheel", "sagestage"}
    assert {n: v for n, v in python.items() if n not in base and pins.get(n) != v} == {}
    assert any(one["purl"].startswith("pkg:deb/debian/") for one in found)
