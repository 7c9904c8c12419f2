"""What a resource's inputs become, and what a change of them means: check and diff, as pure functions of values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from infra.provider.difference import Change, Kind, changes
from infra.provider.shapes import Issue
from infra.provider.types import ResourceType
from infra.provider.values import UNKNOWN, Plain, Properties, contains_unknown

DEFAULTS = "__defaults"  # Pulumi's AWS provider notes here what its check filled in; the CLI hides the name


def completed(
    kind: ResourceType, logical: str, olds: Properties, news: Properties, seed: bytes
) -> tuple[Properties, list[Issue]]:
    """The inputs with defaults and a physical name, and all that is wrong with them.

    Old inputs keep a made-up name stable from one run to the next.
    """
    issues = _misfits(kind, news)
    inputs = {name: _text_of_json(value) if _is_json(kind, name) else value for name, value in news.items()}
    filled: Properties = {
        name: prop.default for name, prop in kind.inputs.items() if prop.default is not None and name not in news
    }
    name = kind.name
    if name is not None and name.property not in news:
        try:
            filled[name.property] = _name(kind, logical, olds, news, seed)
        except ValueError as error:
            issues.append(Issue(name.property, str(error)))
    inputs |= filled
    if not issues:  # what is misspelt already would be reported a second time
        kind.encoded(kind.create, inputs, issues)
    marks: list[Plain] = [*sorted(filled)]
    return {**inputs, DEFAULTS: marks}, issues


def _misfits(kind: ResourceType, news: Properties) -> list[Issue]:
    declared = kind.inputs
    known = ", ".join(sorted(declared))
    unknown = [
        Issue(name, f"is not a property of {kind.pulumi_type}: it has {known}") for name in news if name not in declared
    ]
    refused = [
        Issue(name, f"is not supported by the local provider: {prop.unsupported}")
        for name, prop in declared.items()
        if prop.unsupported and name in news
    ]
    missing = [
        Issue(name, "is required and missing") for name, prop in declared.items() if prop.required and name not in news
    ]
    return unknown + refused + missing


def _name(kind: ResourceType, logical: str, olds: Properties, news: Properties, seed: bytes) -> Plain:
    if kind.name is None:
        return None
    name, prefix = (
        kind.name.property,
        next((news[each] for each in ("namePrefix", "bucketPrefix") if each in news), None),
    )
    made_before = name in _list(olds.get(DEFAULTS)) and isinstance(olds.get(name), str)
    if prefix is UNKNOWN:
        return UNKNOWN
    if prefix is not None:
        kept = made_before and str(olds[name]).startswith(str(prefix))
        return olds[name] if kept else kind.name.with_prefix(str(prefix), seed)
    had_prefix = any(each in olds for each in ("namePrefix", "bucketPrefix"))
    return olds[name] if made_before and not had_prefix else kind.name.make(logical, seed)


def tags_all(kind: ResourceType, inputs: Properties, defaults: Mapping[str, str]) -> Properties:
    """The tags that the resource gets: the provider's, and over them its own."""
    own = inputs.get("tags")
    if kind.tagging is None:
        return {}
    return {**defaults, **(own if isinstance(own, dict) else {})}


def differences(
    kind: ResourceType,
    olds: Properties,
    news: Properties,
    ignored: Iterable[str],
    defaults: Mapping[str, str],
    region: str | None,
) -> dict[Change, bool]:
    """Every change from the recorded state to the new inputs -> whether it replaces the resource."""
    found: dict[Change, bool] = {}
    for name, prop in kind.inputs.items():
        for change in prop.changes(olds.get(name), news.get(name), name):
            found[change] = prop.replaced_by(change)
    if (
        kind.regional
        and region
        and isinstance(olds.get("region"), str)
        and "region" not in news
        and olds["region"] != region
    ):
        found[Change("region", "", Kind.UPDATE)] = True
    if kind.tagging is not None and not isinstance(news.get("tags"), type(UNKNOWN)):
        for change in changes(olds.get("tagsAll"), tags_all(kind, news, defaults), "tagsAll"):
            found[change] = False
    skip = tuple(ignored)
    return {change: replaces for change, replaces in found.items() if not _covered(change.path, skip)}


def _covered(path: str, ignored: tuple[str, ...]) -> bool:
    family = [each.replace("tags", "tagsAll", 1) for each in ignored if each.startswith("tags")]
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in (*ignored, *family))


def named_by_program(kind: ResourceType, news: Properties) -> bool:
    """Whether the program gave a name that the provider would have made up: two such cannot exist side by side."""
    return kind.name is not None and DEFAULTS in news and kind.name.property not in _list(news[DEFAULTS])


def _is_json(kind: ResourceType, name: str) -> bool:
    return name in kind.inputs and kind.inputs[name].json


def _text_of_json(value: Plain) -> Plain:
    if not isinstance(value, dict | list):
        return value
    return UNKNOWN if contains_unknown(value) else json.dumps(value)


def _list(value: Plain) -> list[Plain]:
    return value if isinstance(value, list) else []
