"""Docker's faults, real ones, as a user of `sagestage images` meets them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.cloud import docker
from sagestage.images import LOCAL_BASE
from tests.container_support.docker import INFERENCE, ROOT, absent, need_engine, need_image
from tests.sagestage_support.user import make_project

pytestmark = pytest.mark.slow
SAGESTAGE = str(Path(sys.executable).with_name("sagestage"))
ROOT_NEEDED = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def sagestage(*words: str, folder: Path = ROOT, **env: str) -> tuple[int, str]:
    variables = {**docker.environment(), "NO_COLOR": "1", "COLUMNS": "400", **env}
    done = subprocess.run(
        [SAGESTAGE, "images", *words], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def told(answer: tuple[int, str], *expected: str) -> None:
    code, said = answer
    assert code == 1
    assert said.count("\n") == 1, said
    assert said.startswith("error ")
    for one in expected:
        assert one in said


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


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of Debian's on a free port; /closed asks for a password."""
    need_image(INFERENCE)
    program = shutil.which("docker-registry")
    if program is None:
        absent("there is no registry to push to: apt-get install docker-registry")
    yield from _registry(str(program), tmp_path_factory.mktemp("registry"), auth="")


def _registry(program: str, folder: Path, auth: str) -> Iterator[str]:
    from tests.cloud_support.helpers import free_port  # noqa: PLC0415 - one use

    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{port}/v2/")
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def test_a_push_writes_the_digest_that_the_registry_knows_into_the_stacks_file(registry: str, tmp_path: Path) -> None:
    make_project(tmp_path)
    file = tmp_path / "stacks/Pulumi.staging.yaml"
    before = file.read_text()
    target = f"{registry}/team/sagestage-inference"
    code, said = sagestage("push", "--stack", "staging", "--repository", target, folder=tmp_path)
    assert code == 0, said
    after = file.read_text().splitlines()
    (line,) = [line for line in after if line.startswith("  sagestage:image:")]
    image, _, digest = line.split(": ")[-1].partition("@")
    assert image == target
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    known = httpx.head(f"http://{registry}/v2/team/sagestage-inference/manifests/{digest}", headers=accept)
    assert known.headers["Docker-Content-Digest"] == digest
    assert "  sagestage:cuda: none" in after
    assert [line for line in before.splitlines() if "image" not in line] == [
        line for line in after if "image" not in line and "cuda" not in line
    ]
    again, _ = sagestage("push", "--stack", "staging", folder=tmp_path)  # the repository stands in the file by now
    assert again == 0
    assert file.read_text().splitlines() == after


def test_a_registry_that_refuses(tmp_path: Path) -> None:
    need_image(INFERENCE)
    program = shutil.which("docker-registry")
    if program is None:
        absent("there is no registry to push to: apt-get install docker-registry")
    (tmp_path / "passwords").write_text("somebody:$2y$05$eIWEZxdfAqZ8tOlVjOLPF.oKJVm0hcXjvQVtnxOhwLf9iXZPr8zvO\n")
    auth = f"auth: {{htpasswd: {{realm: here, path: {tmp_path}/passwords}}}}\n"
    make_project(tmp_path)
    for address in _registry(str(program), tmp_path, auth):
        answer = sagestage("push", "--stack", "staging", "--repository", f"{address}/closed", folder=tmp_path)
        told(answer, f"the registry refuses {address}/closed: check that the repository exists")


def test_a_registry_that_is_not_there_and_a_stack_that_names_none(tmp_path: Path) -> None:
    need_image(INFERENCE)
    make_project(tmp_path)
    answer = sagestage("push", "--stack", "staging", "--repository", "127.0.0.1:1/x", folder=tmp_path)
    told(answer, "the registry of 127.0.0.1:1/x cannot be reached", "connection refused")
    answer = sagestage("push", "--stack", "staging", "--role", "training", folder=tmp_path)
    told(answer, "the stack has no sagestage:trainingImage: give --repository")


@ROOT_NEEDED
def test_a_full_disk(tmp_path: Path) -> None:
    """An engine of its own on a small disk; without a bridge it removes that of others: hence its own network."""
    need_engine()
    if shutil.which("dockerd") is None or not docker.is_here(LOCAL_BASE):
        absent("needs dockerd and the base image of containers/engine.sh")
    disk, run = tmp_path / "disk", Path(tempfile.mkdtemp(prefix="sagestage-full-", dir="/run"))
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        absent(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    address = f"unix://{run}/docker.sock"
    engine = subprocess.Popen(
        ["unshare", "--net", "dockerd", "--data-root", str(disk), "--exec-root", str(run / "exec"), "-H", address,
         "--pidfile", str(run / "pid"), "--bridge", "none", "--iptables=false", "--ip-forward=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        here = {**os.environ, "DOCKER_HOST": address}
        for _ in range(300):
            if subprocess.run(["docker", "version"], env=here, capture_output=True, check=False).returncode == 0:
                break
            assert engine.poll() is None
        save = ["docker", "save", LOCAL_BASE]
        with subprocess.Popen(save, env=docker.environment(), stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "load"], env=here, stdin=saved.stdout, check=True, capture_output=True)
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(bytes(max(0, free - 2**20)))
        words = ("build", "--role", "inference", "--base-image", LOCAL_BASE)
        code, said = sagestage(*words, DOCKER_HOST=address)
        assert code == 1
        assert f"the disk of the Docker engine is full ({disk})" in said, said
        assert "Traceback" not in said
    finally:
        engine.terminate()
        engine.wait(30)
        subprocess.run(["umount", "--lazy", disk], check=True)
        shutil.rmtree(run, ignore_errors=True)


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
    assert {"granian", "numpy", "pydantic", "sagestage"} <= python.keys()
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    base = {"setuptools", "pip", "wheel", "sagestage"}
    assert {n: v for n, v in python.items() if n not in base and pins.get(n) != v} == {}
    assert any(one["purl"].startswith("pkg:deb/debian/") for one in found)
