"""Property paths, as resource options and detailed diffs write them: `a.b[0].c`, `a["x.y"]`, `*`; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from infra.engine.errors import EngineError
from infra.engine.values import Properties, Secret

Path = tuple[str | int, ...]
MISSING: Final = object()
_TOKEN = re.compile(r'\[(\d+|\*|"(?:[^"\\]|\\.)*")\]|\.?([^.\[\]]+)')


def parse(text: str) -> Path:
    """The parts of a path. `*` stands for every key or index.

    Raises:
        EngineError: the text is no path.
    """
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise EngineError(f"property path {text!r}: not understood at {text[position:]!r}; write it like a.b[0].c")
        index, key = found.groups()
        parts.append(key if key is not None else json.loads(index) if index != "*" else "*")
        position = found.end()
    return tuple(parts)


def covers(pattern: Path, path: Path) -> bool:
    """Whether `path` is at or below what `pattern` names."""
    return len(pattern) <= len(path) and all(p in ("*", part) for p, part in zip(pattern, path, strict=False))


def text_of(path: Path) -> str:
    """The path as Pulumi writes it."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$]*", part):
            written += f".{part}" if written else part
        else:
            written += f"[{json.dumps(part)}]"
    return written


def get(value: Any, path: Path) -> Any:
    """What stands at a path (secrets are looked into), or MISSING."""
    secret = False
    for part in path:
        if isinstance(value, Secret):
            secret, value = True, value.value
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return Secret(value) if secret and not isinstance(value, Secret) else value


def reset(new: Properties, old: Properties, path: Path) -> Properties:
    """`new` with everything at `path` as it is in `old`: absent there, absent here. What ignoreChanges means.

    Source: processIgnoreChanges and PropertyPath.Reset of the real engine; where a container on the way is missing in
    `new`, nothing is made up.
    """
    result: Properties = _reset(new, old, path)
    return result


def _reset(new: Any, old: Any, path: Path) -> Any:
    if isinstance(new, Secret):
        return Secret(_reset(new.value, old.value if isinstance(old, Secret) else old, path))
    if isinstance(old, Secret):
        old = old.value
    head, rest = path[0], path[1:]
    result = new
    for key in list(_keys(new, old, head)):
        before, after = get(old, (key,)), get(result, (key,))
        if not rest:
            result = _with(result, key, before)
        elif after is not MISSING:
            result = _with(result, key, _reset(after, {} if before is MISSING else before, rest))
    return result


def _keys(new: Any, old: Any, head: str | int) -> Iterator[str | int]:
    if head != "*":
        yield head
    elif isinstance(new, dict):
        yield from dict.fromkeys([*new, *(old if isinstance(old, dict) else ())])
    elif isinstance(new, list):
        yield from range(len(new))


def _with(container: Any, key: str | int, value: Any) -> Any:
    if isinstance(container, dict) and isinstance(key, str):
        kept = {k: v for k, v in container.items() if k != key}
        return kept if value is MISSING else {**kept, key: value}
    if isinstance(container, list) and isinstance(key, int) and key < len(container) and value is not MISSING:
        return [*container[:key], value, *container[key + 1 :]]
    return container


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Each place where two values differ: (path, old, new), MISSING where there is nothing. Secrecy is a difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            was = old[index] if index < len(old) else MISSING
            now = new[index] if index < len(new) else MISSING
            yield from differences(was, now, (*path, index))
    elif old != new or (type(old) is not type(new) and bool in (type(old), type(new))):  # 1 is 1.0, and not True
        yield path, old, new
