"""Every mistake of a user is one line that names the value and the remedy; nothing is half-made."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sagestage_support.user import BIN, User, make_project, processes_of

ROWS = "".join(f"2024-01-{1 + day:02d},{day % 7},{day % 5},{10 + day % 9}\n" for day in range(28))
FILES = {
    "empty.csv": "",
    "header.csv": "day,weekday,load,sales\n",
    "good.csv": "day,weekday,load,sales\n" + ROWS,
    "constant.csv": "day,weekday,load,sales\n" + "".join(f"2024-01-{1 + d:02d},{d % 7},{d % 5},7\n" for d in range(28)),
}


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = make_project(tmp_path_factory.mktemp("mistakes"))
    for name, text in FILES.items():
        (user.folder / name).write_text(text)
    yield user
    user.sagestage("cloud", "stop")


def assert_one_line(answer: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert answer.returncode == code, answer.stdout + answer.stderr
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error ")]
    assert len(errors) == 1, answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "nowhere.csv", "--target", "sales"), ("nowhere.csv",)),
        (("--data", "good.csv"), ("--target",)),
        (("--target", "sales"), ("--data",)),
        (("--data", "empty.csv", "--target", "sales"), ("empty.csv", "empty")),
        (("--data", "header.csv", "--target", "sales"), ("header.csv", "row")),
        (("--data", "good.csv", "--target", "profit"), ("profit", "sales")),
        (("--data", "constant.csv", "--target", "sales"), ("sales", "constant")),
        (("--data", "good.csv", "--target", "sales", "--order-by", "hour"), ("hour",)),
        (("--data", "good.csv", "--target", "sales", "--drop", "colour"), ("colour",)),
        (("--data", "good.csv", "--target", "sales", "--gate", "r2 is good"), ("r2 is good",)),
        (("--data", "good.csv", "--target", "sales", "--gate", "fame>=1"), ("fame",)),
    ],
)
def test_data_that_cannot_be_used(user: User, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_one_line(user.sagestage("rehearse", *options), *words)
    assert user.json("status")["cloud"] is None
    assert not (user.folder / ".sagestage/artifacts").exists()


def test_a_command_outside_a_project_says_so(tmp_path: Path) -> None:
    assert_one_line(User(tmp_path).sagestage("status"), "Pulumi.yaml")


def test_deploying_without_a_cloud_says_how_to_start_it(user: User) -> None:
    (user.folder / "stacks/Pulumi.local.yaml").unlink(missing_ok=True)
    assert_one_line(user.sagestage("up"), "local", "sagestage rehearse")
    assert_one_line(user.sagestage("cloud", "env"), "sagestage cloud start")
    assert_one_line(user.sagestage("cloud", "status"), "sagestage cloud start")


def test_a_stack_for_aws_is_left_to_pulumi(user: User) -> None:
    assert_one_line(user.sagestage("up", "--stack", "prod"), "prod", "`pulumi`", "--on embedded")


def test_a_taken_port_is_named(user: User) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_one_line(user.sagestage("cloud", "start", "--port", port), port, "--port")
    assert processes_of(user.folder) == []


def test_a_wrong_option_is_a_usage_error(user: User) -> None:
    answer = user.sagestage("rehearse", "--requests", "none")
    assert answer.returncode == 2
    assert "--requests" in answer.stderr


@pytest.mark.parametrize(
    "command",
    [(), ("rehearse",), ("train",), ("serve",), ("preview",), ("up",), ("refresh",), ("destroy",), ("invoke",)],
)
def test_help_shows_an_example(user: User, command: tuple[str, ...]) -> None:
    answer = user.sagestage(*command, "--help")
    assert answer.returncode == 0
    assert "sagestage rehearse" in answer.stdout if not command else "Example: sagestage" in answer.stdout


def test_debug_shows_the_traceback(user: User) -> None:
    answer = user.sagestage("--debug", "up", "--stack", "nowhere")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("  sagestage:colour: red\n", ("sagestage:colour",)),
        ("  sagestage:program: [1, 2]\n", ("sagestage:program",)),
        ("  sagestage:program: nothing\n", ("nothing", "demand")),
    ],
)
def test_a_stack_file_with_a_mistake(tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    user = make_project(tmp_path)
    try:
        url = user.json("cloud", "start")["url"]
        template = (tmp_path / "stacks/local.template.yaml").read_text()
        kept = [text for text in template.splitlines(keepends=True) if line.split(": ", maxsplit=1)[0] not in text]
        filled = "".join(kept).replace("config:\n", "config:\n" + line).replace("${url}", url)
        digest = "0" * 64
        for name in ("champion", "challenger"):
            filled = filled.replace(f"${{{name}}}", f"s3://b/models/{name}/{digest}/model.tar.gz")
        filled = filled.replace("${image}", "sagestage-inference:local").replace("${region}", "us-east-1")
        (tmp_path / "stacks/Pulumi.local.yaml").write_text(filled)
        (tmp_path / "stacks/local.template.yaml").write_text(filled)
        assert_one_line(user.sagestage("preview"), *words)
    finally:
        user.sagestage("cloud", "stop")


def test_serve_ends_at_once_on_an_archive_that_is_none(user: User) -> None:
    (user.folder / "model.tar.gz").write_bytes(b"not an archive")
    answer = user.sagestage("serve", "model.tar.gz")
    assert answer.returncode != 0
    assert "model.tar.gz" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_interrupted_cloud_start_leaves_nothing(tmp_path: Path) -> None:
    user = make_project(tmp_path)
    process = subprocess.Popen(
        [str(BIN / "sagestage"), "cloud", "start"],
        cwd=tmp_path,
        env=user.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.kill(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    user.sagestage("cloud", "stop")
    assert processes_of(tmp_path) == []
