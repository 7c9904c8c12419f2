"""A stack for AWS as the real CLI sees it on this machine: the project's program, and a stack file of our own.

The folder is `.sagestage/pulumi/project`: links to all that is in the project's, a Pulumi.yaml that looks for stack
files elsewhere, and there the stack's file with what leads to the embedded cloud. The user's file is not written, not
even its salt; what is encrypted for somebody else's key is a placeholder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from infra.engine import PLACEHOLDER
from sagestage import engines
from sagestage.project import PROJECT_FILE, Project

STACKS: Final = ".stacks"
_LINKED: Final = frozenset({".venv"})
"""What begins with a dot and a program needs all the same."""


def make(root: Path, stack: str, config: Mapping[str, Any], url: str) -> Path:
    """The folder to run the CLI in, with the stack's file for the cloud at `url`.

    Args:
        root: the project's folder.
        stack: the stack's name.
        config: its configuration, as its file has it.
        url: the running cloud.
    """
    folder = Project(root).home / "pulumi" / "project"
    (folder / STACKS).mkdir(parents=True, exist_ok=True)
    _link(root, folder)
    project = yaml.safe_load((root / PROJECT_FILE).read_text())
    _write(folder / PROJECT_FILE, {**project, "stackConfigDir": STACKS})
    file = folder / STACKS / f"Pulumi.{stack}.yaml"
    kept = (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}
    values = {key: value for key, value in {**config, **engines.overrides(config, url)}.items() if value is not None}
    _write(file, {**kept, "config": {key: _opened(value) for key, value in values.items()}})
    return folder


def _link(root: Path, folder: Path) -> None:
    wanted = {
        each.name: each
        for each in root.iterdir()
        if each.name != PROJECT_FILE and (not each.name.startswith(".") or each.name in _LINKED)
    }
    for link in folder.iterdir():
        if link.is_symlink() and (link.name not in wanted or link.readlink() != wanted[link.name]):
            link.unlink()
    for name, target in wanted.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def _opened(value: Any) -> Any:
    """The value, with a placeholder for each that only the stack's own key opens."""
    if isinstance(value, dict):
        return PLACEHOLDER if set(value) == {"secure"} else {key: _opened(each) for key, each in value.items()}
    return [_opened(each) for each in value] if isinstance(value, list) else value


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text() != text:
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(path)
