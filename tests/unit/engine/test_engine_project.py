from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import EngineError
from infra.engine.project import Config, load_project, load_stack, resolve

PROJECT = """
name: lab
runtime: {name: python, options: {virtualenv: .venv}}
main: stacks
stackConfigDir: stacks
config:
  lab:size: {type: integer}
  lab:mode: {type: string, default: fast}
  aws:region: us-east-1
"""


def write(root: Path, project: str = PROJECT, stack: str | None = "config: {lab:size: 3}\n") -> Path:
    (root / "stacks").mkdir(exist_ok=True)
    (root / "stacks" / "__main__.py").touch()
    (root / "Pulumi.yaml").write_text(project)
    if stack is not None:
        (root / "stacks" / "Pulumi.dev.yaml").write_text(stack)
    return root


def config_of(root: Path) -> Config:
    project = load_project(root)
    return resolve(project, load_stack(project, "dev"), lambda sealed: sealed.removeprefix("v1:"))


def test_programs_get_text_as_the_real_engine_writes_it(tmp_path: Path) -> None:
    stack = """
config:
  lab:size: 5
  toy:flag: true
  toy:yes: yes
  toy:f: 2.50
  toy:day: 2020-01-01
  toy:map: {b: [x, 2.5], a: 1}
  toy:key: {secure: "v1:opened"}
  toy:inner: {a: {secure: "v1:s"}}
"""
    config = config_of(write(tmp_path, stack=stack))
    assert dict(config.values) == {
        "lab:size": "5", "toy:flag": "true", "toy:yes": "yes", "toy:f": "2.5",
        "toy:day": "2020-01-01 00:00:00 +0000 UTC",
        "toy:map": '{"a":1,"b":["x",2.5]}', "toy:key": "opened", "toy:inner": '{"a":"s"}',
        "lab:mode": "fast", "aws:region": "us-east-1",
    }  # fmt: skip
    assert config.secret_keys == {"toy:key", "toy:inner"}


@pytest.mark.parametrize(
    ("stack", "told"),
    [
        ("config: {lab:sise: 3}", "unknown key 'lab:sise'; did you mean 'lab:size'?"),
        ("config: {lab:size: big}", "lab:size must be of type integer, got 'big'"),
        ("config: {lab:size: {secure: 'v1:big'}}", r"lab:size must be of type integer, got \[secret\]"),
        ("config: {size: 3}", "key 'size' has no namespace; write lab:size"),
        ("config: {lab:size: }", "lab:size"),
        ("config: {}", r"lab:size \(integer\) is missing"),
        ("config: {lab:size: 3, toy:x: null}", "toy:x is None"),
        ("confg: {}", "unknown key 'confg'; did you mean 'config'?"),
        ("config: [", "cannot be read"),
        ("text", "expected `key: value` lines"),
        ("config: 3", "config is 3"),
        ("secretsprovider: awskms://x", "secretsprovider 'awskms://x'"),
        ("environment: [x]", "Pulumi ESC"),
        ("config: {lab:size: 3, 'pulumi:disable-default-providers': [aws]}", "pulumi:disable-default-providers"),
        (None, "Pulumi.dev.yaml does not exist; stacks here: none"),
    ],
)
def test_a_stack_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, stack: str | None, told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        config_of(write(tmp_path, stack=stack))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("project", "told"),
    [
        ("runtime: python", "name is None"),
        ("name: lab\nruntime: nodejs", "runtime is 'nodejs'"),
        ("name: lab\nruntime: python\nmain: nowhere", "nowhere does not exist"),
        ("name: lab\nruntime: python\nmian: stacks", "unknown key 'mian'; did you mean 'main'"),
    ],
)
def test_a_project_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, project: str, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        config_of(write(tmp_path, project=project))


def test_a_missing_project_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"Pulumi.yaml does not exist"):
        load_project(tmp_path)


@pytest.mark.parametrize("name", ["../x", "", "a b"])
def test_a_stack_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError, match="stack name"):
        load_stack(load_project(write(tmp_path)), name)
