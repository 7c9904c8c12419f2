"""`sagestage images push`: real registries, open ones, ones that ask for a login, and one as ECR's."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud_support.helpers import Cloud, running
from tests.container_support.commands import SAGESTAGE, sagestage, told
from tests.container_support.registry import Engine, Registry, own_engine, registry
from tests.sagestage_support.user import make_project

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
OPEN, CLOSED = "127.0.0.1:5000", "127.0.0.1:80"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with small images under the names of ours; what it takes for ECR is on its own loopback."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "hosts").write_text(f"127.0.0.1 localhost {ECR}\n")
    before = ["ip link set lo up", f"mount --bind {folder}/hosts /etc/hosts"]
    with own_engine(folder / "data", "--insecure-registry", ECR, before=before) as made:
        for device, cuda in (("cpu", "none"), ("gpu", "13.0")):
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as tar:
                tar.addfile(tarfile.TarInfo(device))
            label, tag = f"LABEL sagestage.cuda={cuda}", f"sagestage-inference:{device}"
            made.call("import", "--change", label, "-", tag, given=content.getvalue())
        yield made


@pytest.fixture(scope="module")
def opened(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(engine, tmp_path_factory.mktemp("open"), 5000, closed=False) as made:
        yield made


@pytest.fixture(scope="module")
def closed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(engine, tmp_path_factory.mktemp("closed"), 80, closed=True) as made:
        yield made


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


def written(folder: Path, key: str = "image") -> str:
    """What a stack's file has."""
    lines = (folder / "stacks/Pulumi.staging.yaml").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"  sagestage:{key}:")]
    return line.partition(": ")[2].strip('"')


def test_a_push_writes_the_digest_that_the_registry_knows_into_the_stacks_file(
    engine: Engine, opened: Registry, tmp_path: Path
) -> None:
    make_project(tmp_path)
    file = tmp_path / "stacks/Pulumi.staging.yaml"
    before = file.read_text()
    words = ("push", "--stack", "staging")
    target = f"{OPEN}/team/sagestage-inference"
    code, said = sagestage(*words, "--repository", target, folder=tmp_path, DOCKER_HOST=engine.address)
    assert code == 0, said
    after = file.read_text().splitlines()
    image, _, digest = written(tmp_path).partition("@")
    assert image == target
    assert opened.has("team/sagestage-inference", digest)
    assert "  sagestage:cuda: none" in after
    assert [line for line in before.splitlines() if "image" not in line] == [
        line for line in after if "image" not in line and "cuda" not in line
    ]
    again, _ = sagestage(*words, folder=tmp_path, DOCKER_HOST=engine.address)  # the repository stands there by now
    assert again == 0
    assert file.read_text().splitlines() == after


def test_a_registry_that_asks_for_a_login_takes_the_image_of_who_is_logged_in(
    engine: Engine, closed: Registry, tmp_path: Path
) -> None:
    make_project(tmp_path)
    user = {"DOCKER_HOST": engine.address, "DOCKER_CONFIG": str(tmp_path / "docker")}
    words = ("push", "--stack", "staging", "--repository", f"{CLOSED}/team/image")
    told(
        sagestage(*words, folder=tmp_path, **user),
        f"the registry refuses {CLOSED}/team/image: check that the repository exists and that you may push to it",
    )
    assert "dkr.ecr" in written(tmp_path), "what was not pushed is not written down"
    login = ["docker", "login", "--username", "somebody", "--password-stdin", CLOSED]
    subprocess.run(login, env={**os.environ, **user}, input=b"right", capture_output=True, check=True)
    code, said = sagestage(*words, folder=tmp_path, **user)
    assert code == 0, said
    assert closed.has("team/image", written(tmp_path).partition("@")[2])


def test_a_push_to_ecr_asks_it_for_a_password_and_keeps_none(
    engine: Engine, closed: Registry, cloud: Cloud, tmp_path: Path
) -> None:
    """The embedded cloud answers for ECR's API, and the registry lets in whom its token names."""
    closed.demand("AWS", "123456789012-auth-token")
    make_project(tmp_path)
    user = {
        "DOCKER_HOST": engine.address,
        "HOME": str(tmp_path / "home"),
        "AWS_ENDPOINT_URL": cloud.info.url,
        "AWS_ACCESS_KEY_ID": "sagestage",
        "AWS_SECRET_ACCESS_KEY": "sagestage",
    }
    words = ("push", "--stack", "staging", "--device", "gpu")
    named = (*words, "--repository", f"{ECR}/sagestage-inference")
    told(sagestage(*named, folder=tmp_path, **user), "there is no repository sagestage-inference in 123456789012")
    cloud.client("ecr").create_repository(repositoryName="sagestage-inference")
    code, said = sagestage(*named, folder=tmp_path, **user)
    assert code == 0, said
    image, _, digest = written(tmp_path).partition("@")
    assert image == f"{ECR}/sagestage-inference"
    assert closed.has("sagestage-inference", digest)
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("config.json"))
    closed.demand("AWS", "right")  # a token that is over
    told(sagestage(*words, folder=tmp_path, **user), f"the registry refuses {ECR}")


def test_the_label_of_what_was_pushed_refuses_machines_that_could_not_start_it(
    engine: Engine, opened: Registry, tmp_path: Path
) -> None:
    project = make_project(tmp_path)
    words = ("push", "--stack", "staging", "--device", "gpu", "--repository", f"{OPEN}/gpu")
    code, said = sagestage(*words, folder=tmp_path, DOCKER_HOST=engine.address)
    assert code == 0, said
    assert written(tmp_path, "cuda") == "13.0"
    program = tmp_path / "stacks/demand.py"
    program.write_text(re.sub(r'instance="[^"]+"', 'instance="ml.g5.xlarge"', program.read_text()))
    done = project.run(SAGESTAGE, "preview", "--stack", "staging", "--on", "embedded")
    assert done.returncode == 1, done.stdout
    assert "its image has CUDA 13.0, newer than the CUDA 12.2" in done.stderr
    assert "use ami='al2023-ami-sagemaker-inference-gpu-4-1'" in done.stderr
    assert opened.has("gpu", written(tmp_path).partition("@")[2])


def test_a_registry_that_is_not_there_and_a_stack_that_names_none(engine: Engine, tmp_path: Path) -> None:
    make_project(tmp_path)
    here = {"DOCKER_HOST": engine.address}
    answer = sagestage("push", "--stack", "staging", "--repository", "127.0.0.1:1/x", folder=tmp_path, **here)
    told(answer, "the registry of 127.0.0.1:1/x cannot be reached", "connection refused")
    answer = sagestage("push", "--stack", "staging", "--role", "training", folder=tmp_path, **here)
    told(answer, "the stack has no sagestage:trainingImage: give --repository")
