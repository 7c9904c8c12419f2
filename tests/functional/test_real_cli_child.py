"""`sagestage pulumi` as a parent: what its child sees, what it refuses, how signals pass. A script is the CLI."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sagestage.errors import SagestageError
from sagestage.pulumi_cli import run, stack_of
from tests.cloud_support.helpers import alive
from tests.provider_support.real_cli import ROOT, SERVICES

URL = "http://127.0.0.1:4577"
CLI = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
env > "$CALLS.env"
case "$1" in
  stack) mkdir -p .sagestage/pulumi/.pulumi/stacks/trial && echo {} > ".sagestage/pulumi/.pulumi/stacks/trial/$3.json";;
  fail) exit 7;;
  wait) trap 'echo interrupted >> "$CALLS"; exit 130' INT; echo waiting; while :; do sleep 0.05; done;;
  die) kill -9 $$;;
esac
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and a stand-in for the CLI on the PATH that notes how it was called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").write_text(CLI)
    (tmp_path / "bin" / "pulumi").chmod(0o755)
    project = tmp_path / "project"
    (project / "stacks").mkdir(parents=True)
    (project / "Pulumi.yaml").write_text("name: trial\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    stack(project, URL)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return project


def stack(root: Path, url: str, name: str = "local") -> None:
    config = {"config": {"aws:endpoints": [dict.fromkeys(SERVICES, url)]}}
    (root / "stacks" / f"Pulumi.{name}.yaml").write_text(json.dumps(config))


def calls(root: Path) -> list[str]:
    return (root.parent / "calls").read_text().splitlines()


def test_a_stack_is_made_before_its_first_use_and_only_then(root: Path) -> None:
    assert run(root, ["up", "--yes"], cloud_url=URL) == 0
    assert run(root, ["preview", "--stack", "local"], cloud_url=URL) == 0
    assert calls(root) == ["stack init local --non-interactive", "up --yes", "preview --stack local"]


def test_the_exit_code_is_passed_on(root: Path) -> None:
    assert run(root, ["fail"], cloud_url=URL) == 7
    assert run(root, ["die"], cloud_url=URL) == 128 + signal.SIGKILL


def test_the_child_has_nothing_of_the_users_aws_and_pulumi(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_CONFIG_PASSPHRASE",
    ):
        monkeypatch.setenv(name, "real")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    run(root, ["up"], cloud_url=URL)
    seen = dict(line.split("=", 1) for line in (root.parent / "calls.env").read_text().splitlines() if "=" in line)
    assert not [name for name, value in seen.items() if value in ("real", "s3://states")]
    home = root / ".sagestage"
    assert seen["PULUMI_BACKEND_URL"] == (home / "pulumi").as_uri()
    assert seen["PULUMI_HOME"] == str(home / "pulumi" / "home")
    assert seen["PATH"].split(os.pathsep)[0] == str(home / "plugin")
    assert (home / "plugin" / "pulumi-resource-aws").stat().st_mode & stat.S_IXUSR
    assert stat.S_IMODE((home / "passphrase").stat().st_mode) == 0o600
    assert seen["VIRTUAL_ENV"] == sys.prefix
    assert seen["AWS_ACCESS_KEY_ID"] == "sagestage"


def test_a_machine_without_the_cli_is_told_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(SagestageError, match="no `pulumi` on the PATH: install the Pulumi CLI"):
        run(root, ["up"], cloud_url=URL)
    assert not (root / ".sagestage").exists()


@pytest.mark.parametrize("command", ["up", "config", "stack"])
def test_a_stack_for_real_aws_is_refused_untouched(root: Path, command: str) -> None:
    stack(root, "https://sagemaker.us-east-1.amazonaws.com", "prod")
    before = (root / "stacks" / "Pulumi.prod.yaml").read_text()
    with pytest.raises(SagestageError, match="stack prod: aws:endpoints must all be on this machine"):
        run(root, [command, "--stack", "prod"], cloud_url=URL)
    assert (root / "stacks" / "Pulumi.prod.yaml").read_text() == before
    assert not (root.parent / "calls").exists()


def test_a_stack_of_another_cloud_is_refused_by_both_addresses(root: Path) -> None:
    with pytest.raises(
        SagestageError, match=r"lead to http://127.0.0.1:4577, and the running cloud is http://127.0.0.1:1"
    ):
        run(root, ["up"], cloud_url="http://127.0.0.1:1")


def test_without_a_running_cloud_nothing_is_deployed_but_configuration_can_be_set(root: Path) -> None:
    with pytest.raises(SagestageError, match="the embedded AWS is not running: `sagestage cloud start`"):
        run(root, ["up"])
    assert run(root, ["config", "set", "a", "b"]) == 0


def test_a_missing_stack_file_is_named(root: Path) -> None:
    with pytest.raises(SagestageError, match="no stack 'other'"):
        run(root, ["up", "-s", "other"], cloud_url=URL)


@pytest.mark.parametrize("arguments", [["login"], ["logout"], ["--cwd", "/", "up"], ["up", "-C", "/"]])
def test_leaving_the_project_is_refused(root: Path, arguments: list[str]) -> None:
    with pytest.raises(SagestageError):
        run(root, arguments, cloud_url=URL)


@pytest.mark.parametrize("arguments", [["version"], ["up", "--help"], []])
def test_help_needs_neither_stack_nor_cloud(root: Path, arguments: list[str]) -> None:
    assert run(root, arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "stack_name"),
    [
        (["up"], "local"),
        (["up", "--stack", "a"], "a"),
        (["up", "--stack=b"], "b"),
        (["-s", "organization/trial/c", "up"], "c"),
        (["up", "-sd"], "d"),
        (["up", "--skip-preview"], "local"),
    ],
)
def test_the_stack_is_the_one_that_is_named(arguments: list[str], stack_name: str) -> None:
    assert stack_of(arguments) == stack_name


def test_ctrl_c_reaches_the_cli_once_and_its_exit_code_comes_back(root: Path) -> None:
    script = "import sys; from pathlib import Path; from sagestage.pulumi_cli import run; "
    script += "sys.exit(run(Path(sys.argv[1]), ['wait'], cloud_url=sys.argv[2]))"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root), URL],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "waiting\n"
        parent.send_signal(signal.SIGINT)
        assert parent.wait(30) == 130
    assert calls(root).count("interrupted") == 1


def test_the_plugin_ends_with_the_engine_that_started_it() -> None:
    plugin = [sys.executable, "-m", "infra.provider", "127.0.0.1:1"]
    start = (
        "import subprocess, sys; child = subprocess.Popen(sys.argv[1:]); print(child.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start, *plugin],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as engine:
        assert engine.stdout is not None
        first, second = engine.stdout.readline(), engine.stdout.readline()  # the child's id, and the port it prints
        assert second.strip().isdigit()
        engine.kill()
    assert engine.stdout.closed
    ended = os.pidfd_open(int(first)) if alive(int(first)) else None
    if ended is not None:
        assert select.select([ended], [], [], 30)[0], "the plugin outlived its engine"
        os.close(ended)
