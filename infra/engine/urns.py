"""URNs, provider references and aliases: names of resources, pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"


def make(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """The URN of a resource. `parent` is its parent's URN, or "" for none; the stack itself adds no type."""
    prefix = qualified_type(parent) if parent else ""
    qualified = type_ if prefix in ("", STACK_TYPE) else f"{prefix}${type_}"
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def qualified_type(urn: str) -> str:
    """The types of a resource and of its ancestors, joined by $."""
    return urn.split("::", 3)[2]


def type_of(urn: str) -> str:
    """The resource's own type."""
    return qualified_type(urn).rpartition("$")[2]


def name_of(urn: str) -> str:
    """The resource's name."""
    return urn.split("::", 3)[3]


def label(urn: str) -> str:
    """A resource for people: its type and name."""
    return f"{type_of(urn)} {name_of(urn)!r}"


def package_of(type_: str) -> str:
    """The package that a type or function token belongs to; for a provider's type, the package that it provides."""
    return type_.removeprefix(PROVIDER_PREFIX) if is_provider(type_) else type_.partition(":")[0]


def is_provider(type_: str) -> bool:
    """Whether a type is that of a provider resource."""
    return type_.startswith(PROVIDER_PREFIX)


def split_reference(reference: str) -> tuple[str, str]:
    """The URN and the id of a provider reference `urn::id`."""
    urn, _, identity = reference.rpartition("::")
    return urn, identity


def is_default_provider(urn: str) -> bool:
    """Whether the engine made this provider because a resource named none."""
    name = name_of(urn)
    return is_provider(type_of(urn)) and (name == "default" or name.startswith("default_"))


@dataclass(frozen=True, slots=True)
class Alias:
    """An earlier name of a resource: a whole URN, or the parts that were different ("" is: as it is now)."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


def alias_urns(
    urn: str, parent: str, aliases: Iterable[Alias], aliased: Mapping[str, str], stack: str, project: str
) -> tuple[str, ...]:
    """Every earlier URN that a resource may have, in the order in which they are tried.

    Those that its aliases say, and the same again below the earlier URN of its parent (`aliased`: new URN -> the one
    found in the state). Mirrors generateAliases of the real engine (pkg/resource/deploy/step_generator.go).
    """
    type_, name = type_of(urn), name_of(urn)
    own = [_collapse(alias, type_, name, parent, stack, project) for alias in aliases]
    found = list(own)
    earlier = aliased.get(parent)
    if earlier is not None:
        for old_type, old_name in [(type_, name), *((type_of(u), name_of(u)) for u in own)]:
            swapped = (
                name_of(earlier) + old_name.removeprefix(name_of(parent))
                if old_name.startswith(name_of(parent))
                else old_name
            )
            found.append(make(stack, project, earlier, old_type, swapped))
    return tuple(dict.fromkeys(u for u in found if u != urn))


def _collapse(alias: Alias, type_: str, name: str, parent: str, stack: str, project: str) -> str:
    if alias.urn:
        return alias.urn
    under = "" if alias.no_parent else alias.parent or parent
    return make(alias.stack or stack, alias.project or project, under, alias.type or type_, alias.name or name)


def identifier(version: str) -> str:
    """A version as it stands in the name of a default provider: 7.51.1 is 7_51_1."""
    return "".join(c if c.isalnum() else "_" for c in version)
