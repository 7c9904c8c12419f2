"""Carrying an operation out and telling the state that it leaves: what the program said, and what AWS computed."""

from __future__ import annotations

from collections.abc import Mapping

from infra.provider.aws import Aws
from infra.provider.difference import same
from infra.provider.errors import ProviderError
from infra.provider.planning import DEFAULTS, differences, named_by_program
from infra.provider.types import ResourceType
from infra.provider.values import UNKNOWN, Plain, Properties


def planned(kind: ResourceType, olds: Properties, news: Properties, tags: Properties, region: str) -> Properties:
    """The state as far as it is known beforehand: what AWS computed stays, what it will compute is missing."""
    kept = {name: value for name, value in olds.items() if _computed(kind, name)}
    state = kept | news
    if kind.tagging is not None:
        state["tagsAll"] = tags if news.get("tags") is not UNKNOWN else UNKNOWN
    if kind.regional:
        state.setdefault("region", region)
    return state


def after_create(
    aws: Aws, kind: ResourceType, inputs: Properties, tags: Properties, timeout_s: float
) -> tuple[str, Properties]:
    """Create the resource: its id and state.

    Raises:
        ProviderError: it could not be made; what was made of it is removed again.
    """
    made = kind.make(aws, inputs, _texts(tags), timeout_s)
    state = planned(kind, {}, inputs, tags, aws.settings.region)
    try:
        return made, state | _found(aws, kind, made, state, inputs)
    except ProviderError:
        kind.end(aws, made, state, timeout_s)
        raise


def after_update(
    aws: Aws, kind: ResourceType, made: str, olds: Properties, news: Properties, tags: Properties, timeout_s: float
) -> Properties:
    """Update the resource in place: its new state."""
    state = planned(kind, olds, news, tags, aws.settings.region)
    kind.change(aws, made, olds, news, timeout_s)
    before = olds.get("tagsAll")
    if kind.tagging is not None and not same(before, tags):
        kind.tagging.update(aws, kind, made, state, _texts(before if isinstance(before, dict) else {}), _texts(tags))
    return state | _found(aws, kind, made, state, news)


def after_read(
    aws: Aws, kind: ResourceType, made: str, olds: Properties, inputs: Properties
) -> tuple[Properties, Properties] | None:
    """State and inputs as AWS has them now, or None when the resource is gone.

    A property that the program left out appears when AWS has a value for it that is not simply its own default.
    Without old inputs (an import) everything that AWS tells becomes input.
    """
    found = kind.find(aws, made, olds)
    if found is None:
        return None
    state = {name: value for name, value in olds.items() if name not in found}
    state |= {
        name: value
        for name, value in found.items()
        if name in olds or _computed(kind, name) or _telling(kind, name, value)
    }
    state = {name: value for name, value in state.items() if value is not None}
    if not olds and not inputs:  # an import: the defaults that check will fill in are no difference later
        defaults = {name: prop.default for name, prop in kind.inputs.items() if prop.default is not None}
        state = {**defaults, **state}
    if kind.regional:
        state.setdefault("region", aws.settings.region)
    for name, value in kind.key_values(made, state).items():
        state.setdefault(name, value)
    if kind.tagging is not None:
        state |= _tags(aws, kind, made, state)
    if not inputs:
        return state, {name: value for name, value in state.items() if name in kind.inputs} | {DEFAULTS: []}
    now = {name: state[name] for name in inputs if name in state}
    return state, now | ({DEFAULTS: inputs[DEFAULTS]} if DEFAULTS in inputs else {})


def after_interruption(
    aws: Aws, kind: ResourceType, inputs: Properties, tags: Properties
) -> tuple[str, Properties] | None:
    """What became of a creation whose process died: id and state, or None when nothing was made.

    A name that was made up for it can be nobody else's. Under a name that the program gave there may be something of
    somebody else's: it is ours when it carries our tags, or differs in nothing.

    Raises:
        ProviderError: there is something of that name that is not ours, or it cannot be looked for.
    """
    made = kind.recover(aws, inputs, 0.0)
    state = planned(kind, {}, inputs, tags, aws.settings.region)
    found = after_read(aws, kind, made, state, inputs) if made else None
    if found is None:
        return None
    now, _ = found
    changes = differences(kind, now, inputs, (), aws.settings.default_tags, aws.settings.region)
    tagged = bool(tags) and same(now.get("tagsAll"), tags) and not any(changes.values())
    if changes and not tagged and (kind.name is None or named_by_program(kind, inputs)):
        raise ProviderError(
            f"{kind.pulumi_type} {made!r} exists and is not what was being made (it differs in "
            f"{', '.join(sorted(change.path for change in changes))}): it is left alone; import it, delete it or give "
            "another name"
        )
    return made, now


def _found(aws: Aws, kind: ResourceType, made: str, state: Properties, inputs: Properties) -> Properties:
    """What AWS computed; what the program said stands as it was said."""
    found = kind.find(aws, made, state)
    if found is None:
        raise ProviderError(f"{kind.pulumi_type}: AWS does not find {made!r} right after it was made")
    return {
        name: value
        for name, value in found.items()
        if _computed(kind, name) and name not in inputs and value is not None
    }


def _tags(aws: Aws, kind: ResourceType, made: str, state: Properties) -> Properties:
    if kind.tagging is None or (kind.tagging.by != "id" and kind.tagging.by not in state):
        return {}
    everything = kind.tagging.find(aws, kind, made, state)
    if everything is None:
        return {}
    own = state.get("tags")
    declared = own if isinstance(own, dict) else {}
    mine = {
        name: value
        for name, value in everything.items()
        if name in declared or aws.settings.default_tags.get(name) != value
    }
    tags: Properties = {"tagsAll": dict(everything)}
    if mine or "tags" in state:
        tags["tags"] = dict(mine)
    return tags


def _computed(kind: ResourceType, name: str) -> bool:
    prop = kind.inputs.get(name)
    return name == "tagsAll" or (prop.computed if prop is not None else True)


def _telling(kind: ResourceType, name: str, value: Plain) -> bool:
    return bool(value) and value != kind.inputs[name].default


def _texts(tags: Mapping[str, Plain]) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}
