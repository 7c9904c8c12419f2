"""The local stack's file: made from its template, and read back for what it deploys."""

from __future__ import annotations

import difflib
import json
import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sagestage.errors import SagestageError

LOCAL = "local"
IMAGE = "sagestage-inference:local"


def path_of(root: Path, stack: str) -> Path:
    """Where the stack's configuration stands."""
    project = _load(root / "Pulumi.yaml")
    folder = project.get("stackConfigDir") or "."
    return root / str(folder) / f"Pulumi.{stack}.yaml"


def project_name(root: Path) -> str:
    """The project's name, from Pulumi.yaml.

    Raises:
        SagestageError: the file gives none.
    """
    name = _load(root / "Pulumi.yaml").get("name")
    if not isinstance(name, str):
        raise SagestageError(f"{root / 'Pulumi.yaml'}: 'name' must be a text, got {name!r}")
    return name


def template_of(root: Path) -> Path:
    """The template of the local stack's file."""
    return path_of(root, LOCAL).with_name("local.template.yaml")


def write_local(root: Path, values: Mapping[str, str]) -> Path:
    """Make the local stack's file from its template, keeping what `pulumi` itself wrote into it (its salt).

    A value that the template does not ask for and Pulumi.yaml declares is set as well: another program and its keys.

    Raises:
        SagestageError: there is no template, or it names a value that is not given.
    """
    template, target = template_of(root), path_of(root, LOCAL)
    try:
        text = string.Template(template.read_text()).substitute(values)
    except FileNotFoundError:
        raise SagestageError(f"{template} is missing: it is what {target.name} is made from") from None
    except KeyError as error:
        raise SagestageError(f"{template}: no value for ${{{error.args[0]}}}; known are {', '.join(values)}") from None
    text = _with(root, text, values)
    if target.exists() and (salt := _load(target).get("encryptionsalt")):
        text = f"{text.rstrip()}\nencryptionsalt: {salt}\n"
    if not target.exists() or target.read_text() != text:
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(target)
    return target


def _with(root: Path, text: str, values: Mapping[str, str]) -> str:
    """The file's text with the values that the project declares."""
    own = f"{project_name(root)}:"
    declared = {str(key).removeprefix(own) for key in _load(root / "Pulumi.yaml").get("config") or {}}
    config = yaml.safe_load(text)["config"]
    lines = text.splitlines()
    for name, value in values.items():
        key = f"{own}{name}"
        if name not in declared or str(config.get(key, "")) == value:
            continue
        line = f"  {key}: {json.dumps(value)}"
        known = [number for number, one in enumerate(lines) if one.startswith(f"  {key}:")]
        if known:
            lines[known[0]] = line
        else:
            lines.insert(lines.index("config:") + 1, line)
    return "\n".join(lines) + "\n"


def read(root: Path, stack: str) -> dict[str, Any]:
    """The stack's configuration: key (`namespace:name`) to value.

    Raises:
        SagestageError: there is no such stack file, it is not valid, or it has keys that the project does not know.
    """
    path = path_of(root, stack)
    if not path.exists():
        have = sorted(other.name.split(".")[1] for other in path.parent.glob("Pulumi.*.yaml"))
        hint = "`sagestage rehearse` makes it" if stack == LOCAL else f"there are: {', '.join(have) or 'none'}"
        raise SagestageError(f"no stack {stack!r}: {path.relative_to(root)} does not exist ({hint})")
    content = _load(path)
    config = content.get("config", {})
    if not isinstance(config, dict):
        raise SagestageError(f"{path.relative_to(root)}: 'config' must be a mapping, got {type(config).__name__}")
    _refuse_unknown(root, path, config)
    return config


def _refuse_unknown(root: Path, path: Path, config: Mapping[str, Any]) -> None:
    """Refuse keys of the project's own that Pulumi.yaml does not declare, where it declares some.

    Pulumi takes them and no program reads them: a misspelt key is found in production.
    """
    declared = _load(root / "Pulumi.yaml").get("config")
    if not isinstance(declared, dict) or not declared:
        return
    own = f"{project_name(root)}:"
    known = sorted(key if ":" in key else own + key for key in map(str, declared))
    for key in map(str, config):
        if key.startswith(own) and key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise SagestageError(f"{path.relative_to(root)}: unknown key {key!r}: {hint} (Pulumi.yaml declares them)")


def is_embedded(config: Mapping[str, Any]) -> bool:
    """Whether every AWS endpoint that the stack names is on this machine, and it names some."""
    blocks = config.get("aws:endpoints") or []
    urls = [url for block in blocks if isinstance(block, dict) for url in block.values()]
    return bool(urls) and all(urlsplit(str(url)).hostname in ("127.0.0.1", "localhost", "::1") for url in urls)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SagestageError(f"{path} does not exist: run this inside a sagestage project") from None
    except yaml.YAMLError as error:
        raise SagestageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SagestageError(f"{path} must hold a mapping, got {type(content).__name__}")
    return content
