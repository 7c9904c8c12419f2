"""Pulumi.yaml and Pulumi.<stack>.yaml: what a project says of itself, and a stack's configuration."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from infra.engine.errors import EngineError, unsupported

_PROJECT_KEYS: Final = {
    "name", "runtime", "description", "main", "stackConfigDir", "config", "author", "website", "license", "options",
    "template", "backend", "refresh", "plugins", "packages",
}  # fmt: skip
_STACK_KEYS: Final = {"config", "encryptionsalt", "secretsprovider", "encryptedkey", "environment"}
_STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool) or v in ("true", "false"),
    "integer": lambda v: not isinstance(v, bool) and re.fullmatch(r"[+-]?\d+", str(v)) is not None,
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


class _Yaml(yaml.SafeLoader):
    """YAML 1.2's booleans, as the real engine reads them: `yes`, `no`, `on` and `off` are text."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass(frozen=True, slots=True)
class Project:
    """A project: where its program is, and what its stacks may configure."""

    root: Path
    name: str
    program: Path
    stacks: Path
    declared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Configuration keys of Pulumi.yaml, fully named, each with its `type`, `default`, `value`, `secret`."""


@dataclass(frozen=True, slots=True)
class Config:
    """A stack's configuration: every value as the text that a program gets, and which of them are secret."""

    values: Mapping[str, str]
    secret_keys: frozenset[str]


def load_project(root: Path) -> Project:
    """Reads Pulumi.yaml.

    Raises:
        EngineError: it is missing, no YAML, or lacks a name, a Python runtime or a program.
    """
    path = root / "Pulumi.yaml"
    data = _read(path, "run in a project's folder, or make one with `pulumi new`")
    _only(data, _PROJECT_KEYS, path)
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise EngineError(f"{path}: name is {name!r}; give the project a name")
    runtime = data.get("runtime")
    runtime = runtime.get("name") if isinstance(runtime, dict) else runtime
    if runtime != "python":
        raise EngineError(f"{path}: runtime is {runtime!r}; the embedded engine runs python programs")
    program = root / data.get("main", ".")
    if program.is_dir():
        program /= "__main__.py"
    if not program.is_file():
        raise EngineError(
            f"{path}: main is {data.get('main', '.')!r}, and {program} does not exist; write the program there"
        )
    declared = {_full(name, k): v if _is_schema(v) else {"value": v} for k, v in (data.get("config") or {}).items()}
    return Project(root, name, program, root / data.get("stackConfigDir", "."), declared)


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and bool(
        value.keys() & {"type", "default", "value", "secret", "description", "items"}
    )


def _full(project: str, key: str) -> str:
    return key if ":" in key else f"{project}:{key}"


@dataclass(frozen=True, slots=True)
class StackFile:
    """Pulumi.<stack>.yaml, read but not decrypted."""

    path: Path
    values: Mapping[str, Any]
    salt: str | None


def load_stack(project: Project, stack: str) -> StackFile:
    """Reads a stack's file.

    Raises:
        EngineError: the name is none, or the file is missing, no YAML, or says what this engine does not know.
    """
    if not _STACK_NAME.fullmatch(stack):
        raise EngineError(f"stack name {stack!r}: use letters, digits, - _ and . (at most 100)")
    path = project.stacks / f"Pulumi.{stack}.yaml"
    known = sorted(p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in project.stacks.glob("Pulumi.?*.yaml"))
    data = _read(path, f"stacks here: {', '.join(known) or 'none'}; write the file or choose another --stack")
    _only(data, _STACK_KEYS, path)
    if data.get("environment"):
        raise unsupported(f"{path.name}: environment (Pulumi ESC)")
    provider = data.get("secretsprovider", "passphrase")
    if provider not in ("passphrase", "default", ""):
        raise unsupported(f"{path.name}: secretsprovider {provider!r} (only passphrase)")
    values = data.get("config") or {}
    if not isinstance(values, dict):
        raise EngineError(f"{path}: config is {values!r}; write one `namespace:key: value` a line under it")
    return StackFile(path, values, data.get("encryptionsalt"))


def resolve(project: Project, file: StackFile, decrypt: Callable[[str], str]) -> Config:
    """The configuration that a program sees: the stack's values over the project's, each checked and decrypted.

    Raises:
        EngineError: a key without a namespace or unknown to the project, a value of a wrong type, a missing one.
    """
    values: dict[str, str] = {}
    secret: set[str] = set()
    for key, raw in file.values.items():
        _known(project, file, key)
        opened, was_secret = _decrypt(raw, decrypt)
        wanted = str(project.declared.get(key, {}).get("type"))
        if wanted in _TYPES and not _TYPES[wanted](opened):
            shown = "[secret]" if was_secret else repr(opened)
            raise EngineError(f"{file.path}: {key} must be of type {wanted}, got {shown}; correct it")
        values[key] = _text(key, opened, file.path)
        if was_secret:
            secret.add(key)
    for key, schema in project.declared.items():
        if key in values:
            continue
        value = schema.get("value", schema.get("default"))
        if value is not None:
            values[key] = _text(key, value, project.root / "Pulumi.yaml")
        elif "type" in schema and "default" not in schema:
            raise EngineError(f"{file.path}: {key} ({schema['type']}) is missing; set it there")
    return Config(values, frozenset(secret))


def _known(project: Project, file: StackFile, key: Any) -> None:
    """Refuses a key without a namespace, and one that is a misspelling of a declared key that has no value.

    A program may read keys that Pulumi.yaml does not declare, as it may under the real engine.
    """
    if not isinstance(key, str) or ":" not in key:
        raise EngineError(f"{file.path}: key {key!r} has no namespace; write {project.name}:{key}")
    own = {known for known in project.declared if known.startswith(f"{project.name}:")}
    if own and key.startswith(f"{project.name}:") and key not in own:
        lacking = {known for known in own - file.values.keys() if "default" not in project.declared[known]}
        close = difflib.get_close_matches(key, lacking, 1, cutoff=0.8)
        if close:
            raise EngineError(f"{file.path}: unknown key {key!r}; did you mean {close[0]!r}?")
    if key.startswith("pulumi:") and key not in ("pulumi:tags", "pulumi:template"):
        raise unsupported(f"{file.path.name}: {key}")


def _decrypt(value: Any, decrypt: Callable[[str], str]) -> tuple[Any, bool]:
    if isinstance(value, dict) and set(value) == {"secure"} and isinstance(value["secure"], str):
        return decrypt(value["secure"]), True
    if isinstance(value, dict):
        opened = {k: _decrypt(v, decrypt) for k, v in value.items()}
        return {k: v for k, (v, _) in opened.items()}, any(s for _, s in opened.values())
    if isinstance(value, list):
        items = [_decrypt(v, decrypt) for v in value]
        return [v for v, _ in items], any(s for _, s in items)
    return value, False


def _text(key: str, value: Any, path: Path) -> str:
    """A configuration value as text: what `pulumi.Config().get` answers under the real engine."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case dict() | list():
            return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=_day)
        case dt.date():
            return _day(value)
        case _:
            raise EngineError(f"{path}: {key} is {value!r}; give it a value or remove the line")


def _day(value: Any) -> str:
    """A YAML date as Go prints it, because that is what programs see under the real engine."""
    moment = value if isinstance(value, dt.datetime) else dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - YAML dates have no zone
    return f"{moment:%Y-%m-%d %H:%M:%S} +0000 UTC"


def _read(path: Path, remedy: str) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Yaml)  # noqa: S506 - a SafeLoader with other booleans
    except FileNotFoundError:
        raise EngineError(f"{path} does not exist; {remedy}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EngineError(f"{path} cannot be read: {error}; correct it") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise EngineError(f"{path}: expected `key: value` lines, got {str(data)[:40]!r}; correct it")
    return data


def _only(data: Mapping[Any, Any], known: set[str], path: Path) -> None:
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise EngineError(f"{path}: unknown key {key!r}; {hint}")
