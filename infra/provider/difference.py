"""What differs between a resource's recorded state and its new inputs, property by property. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeGuard

from infra.provider.values import UNKNOWN, Plain

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Kind(Enum):
    """How a value differs."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Change:
    """One difference. `path` is Pulumi's (`variants[0].weight`); `below` is the dotted path under the property, without indices."""  # noqa: E501 - one sentence

    path: str
    below: str
    kind: Kind


def changes(old: Plain, new: Plain, path: str, below: str = "") -> Iterator[Change]:
    """The differences from old to new. None, an empty list and an empty object are all "not there".

    A list of scalars is a set, as almost everywhere in AWS's APIs: its order makes no difference.
    """
    if same(old, new):
        return
    if _absent(old) or _absent(new):
        yield Change(path, below, Kind.ADD if _absent(old) else Kind.DELETE)
    elif isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            step = f".{name}" if _IDENTIFIER.fullmatch(name) else f"[{json.dumps(name)}]"
            yield from changes(old.get(name), new.get(name), path + step, f"{below}.{name}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            place = f"{path}[{index}]"
            if index >= len(old) or index >= len(new):  # even an empty item more is a difference
                yield Change(place, below, Kind.ADD if index >= len(old) else Kind.DELETE)
            else:
                yield from changes(old[index], new[index], place, below)
    else:
        yield Change(path, below, Kind.UPDATE)


def same(old: Plain, new: Plain) -> bool:
    """Whether nothing would change: unknown values are never the same as known ones."""
    if _absent(old) and _absent(new):
        return True
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if _scalars(old) and _scalars(new):
        return sorted(map(_rank, old)) == sorted(map(_rank, new))
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(same(*pair) for pair in zip(old, new, strict=True))
    if isinstance(old, dict) and isinstance(new, dict):
        return all(same(old.get(name), new.get(name)) for name in {*old, *new})
    return old == new


def same_json(old: Plain, new: Plain) -> bool:
    """Whether two JSON documents say the same, whatever their spacing and the order of their keys."""
    if not isinstance(old, str) or not isinstance(new, str):
        return same(old, new)
    try:
        return bool(json.loads(old) == json.loads(new))
    except ValueError:
        return old == new


def _rank(scalar: Plain) -> tuple[bool, str]:
    """An order of scalars in which equal ones, and no others, meet: 1 and 1.0 are equal, 1 and true are not."""
    number = isinstance(scalar, int | float) and not isinstance(scalar, bool)
    return number, repr(float(scalar)) if isinstance(scalar, int | float) and number else repr(scalar)


def _absent(value: Plain) -> bool:
    return value is None or value in ([], {})


def _scalars(value: Plain) -> TypeGuard[list[Plain]]:
    return isinstance(value, list) and not any(isinstance(item, dict | list) or item is UNKNOWN for item in value)
