"""`--on aws`: the real CLI through Pulumi's Automation API, on a stack that declares nothing in AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pulumi import automation as auto
from typer.testing import CliRunner, Result

from sagestage.cli import app
from tests.provider_support.real_cli import cli_path

pytestmark = pytest.mark.slow
PROGRAM = 'import pulumi\npulumi.export("answer", {0})\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", cli_path())
    for name, value in {
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'backend'}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "VIRTUAL_ENV": sys.prefix,
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "trial"
    (root / "stacks").mkdir(parents=True)
    (tmp_path / "backend").mkdir()
    (root / "Pulumi.yaml").write_text("name: trial\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    (root / "stacks" / "__main__.py").write_text(PROGRAM.format(42))
    (root / "stacks" / "Pulumi.prod.yaml").write_text("config:\n  aws:region: eu-central-1\n")
    monkeypatch.chdir(root)
    return root


def sagestage(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, words)
    got = getattr(done.exception, "exit_code", 1) if isinstance(done.exception, Exception) else done.exit_code
    assert got == code, (done.output, done.exception)
    return done


def test_a_stack_for_aws_goes_through_the_real_cli_and_is_verified(root: Path) -> None:
    told = sagestage("preview", "--stack", "prod", code=1)
    assert "is not in the backend that pulumi is logged in to: `pulumi stack init prod` makes it" in str(told.exception)
    subprocess.run(["pulumi", "stack", "init", "prod"], cwd=root, check=True, capture_output=True)
    sagestage("preview", "--stack", "prod", "--expect-no-changes", code=2)
    done = json.loads(sagestage("up", "--stack", "prod", "--json").stdout)
    assert (done["summary"], done["changed"]) == ({"create": 1}, True)
    sagestage("preview", "--stack", "prod", "--expect-no-changes")
    assert "The stack has no endpoints." in sagestage("verify", "--stack", "prod").output
    assert not (root / ".sagestage").exists()

    (root / "stacks" / "__main__.py").write_text("raise ValueError('no')\n")
    told = sagestage("up", "--stack", "prod", code=1)
    assert "pulumi up of stack prod failed" in str(told.exception)
    assert "\n" not in str(told.exception)
    sagestage("destroy", "--stack", "prod")


def test_without_a_cli_the_way_to_one_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert root
    monkeypatch.setenv("PATH", os.defpath)
    told = sagestage("up", "--stack", "prod", code=1)
    assert "there is no `pulumi` on the PATH: install it" in str(told.exception)


def test_a_cli_is_installed_once_where_the_user_agrees(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = [shutil.which(name) for name in ("pulumi", "pulumi-language-python")]
    subprocess.run(["pulumi", "stack", "init", "prod"], cwd=root, check=True, capture_output=True)
    installed = tmp_path / ".pulumi" / "versions" / "1"
    times = []

    def install(*_: object) -> auto.PulumiCommand:
        times.append(1)
        (installed / "bin").mkdir(parents=True)
        for path in real:
            assert path is not None
            (installed / "bin" / Path(path).name).symlink_to(path)
        return auto.PulumiCommand(root=str(installed))

    monkeypatch.setattr(auto.PulumiCommand, "install", install)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("HOME", str(tmp_path))
    sagestage("preview", "--stack", "prod", code=1)
    assert times == []
    done = json.loads(sagestage("up", "--stack", "prod", "--install", "--json").stdout)
    assert done["summary"] == {"create": 1}
    sagestage("preview", "--stack", "prod", "--expect-no-changes")
    assert times == [1]


def test_an_installation_that_fails_is_told_and_nothing_is_deployed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("HOME", str(tmp_path))

    def unreachable(*_: object) -> None:
        raise OSError("no route to host")

    with monkeypatch.context() as offline:
        offline.setattr(auto.PulumiCommand, "_install_posix", unreachable)
        told = sagestage("up", "--stack", "prod", "--install", code=1)
    assert "could not be installed: no route to host; nothing was deployed" in str(told.exception)

    def broken(_: str, path: str) -> None:
        Path(path).write_text("#!/bin/sh\necho begin\necho no space left >&2\nexit 3\n")

    monkeypatch.setattr("pulumi.automation._cmd._download_to_file", broken)
    told = sagestage("up", "--stack", "prod", "--install", code=1)
    assert "could not be installed: no space left; nothing was deployed" in str(told.exception)


def test_a_cli_that_is_too_old_is_not_replaced_unasked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root
    old = tmp_path / "pulumi"
    old.write_text("#!/bin/sh\necho v2.1.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    told = sagestage("up", "--stack", "prod", "--install", code=1)
    assert "the pulumi on the PATH cannot be used: Minimum version requirement failed" in str(told.exception)
