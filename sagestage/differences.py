"""A plan or a drift, property by property, for people: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from infra.engine import UNKNOWN, Op, Secret, paths
from sagestage.report import short_type

if TYPE_CHECKING:
    from infra.engine import Change, Result, Step

WIDTH = 72
"""The longest value that is shown whole."""
_SIGNS = {"add": "[green]+[/]", "delete": "[red]-[/]", "update": "[yellow]~[/]"}
_SHOWN = (Op.UPDATE, Op.CREATE_REPLACEMENT)


def lines(result: Result) -> Iterator[str]:
    """Rich markup, a line a property: its path, its old and new value, and whether it makes the resource replaced."""
    for step in result.steps:
        if step.op not in _SHOWN:
            continue
        verb = "update" if step.op is Op.UPDATE else "replace"
        yield f"[bold]{verb} {escape(short_type(step.type))} {escape(step.name)}[/]{_why(step)}"
        for change in step.diff:
            yield from (f"  {line}" for line in _change(change))


def _why(step: Step) -> str:
    if step.op is Op.UPDATE:
        return ""
    if step.replace_keys:
        return f" because of {escape(', '.join(step.replace_keys))}"
    return " because what it needs is replaced"


def _change(change: Change) -> Iterator[str]:
    kind, _, replaces = change.kind.partition("-")
    note = " [magenta](replaces)[/]" if replaces else ""
    old, new = _document(change.old), _document(change.new)
    if old is not None and new is not None and kind == "update":
        for path, was, now in paths.differences(old, new):
            inner = paths.text_of((*paths.parse(change.path), *path))
            yield f"{_SIGNS[kind]} {escape(inner)}: {_sides(was, now)}{note}"
        return
    yield f"{_SIGNS[kind]} {escape(change.path)}: {_sides(change.old, change.new)}{note}"


def _document(value: Any) -> Any:
    """What a JSON text says (policies, dashboards): only the part of it that differs is worth showing."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _sides(old: Any, new: Any) -> str:
    nothing = (None, paths.MISSING)
    if old in nothing:
        return _shown(new)
    return _shown(old) if new in nothing else f"{_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    if value is UNKNOWN:
        return "[dim](known after up)[/]"
    if isinstance(value, Secret):
        return "[dim](secret)[/]"
    text = json.dumps(_open(value), ensure_ascii=False)
    return escape(text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…")


def _open(value: Any) -> Any:
    """The value as JSON data: secrets and unknowns inside as words."""
    if isinstance(value, dict):
        return {key: _open(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_open(inner) for inner in value]
    if isinstance(value, Secret):
        return "(secret)"
    return "(known after up)" if value is UNKNOWN else value
