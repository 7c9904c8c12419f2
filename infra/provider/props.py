"""How a property of a resource type is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from infra.provider.difference import Change, Kind, changes, same_json
from infra.provider.values import Plain

Exceptions = Mapping[tuple[Kind, str], bool]


@dataclass(frozen=True, kw_only=True)
class Prop:
    """One input property.

    `member` is the API's name where it does not follow from the property's; `computed` says that AWS fills in what a
    program leaves out; `json` that the value is a document (an object is accepted and made into text); `sent` False
    keeps it from the API's generic calls: it steers the provider, or a type sends it in a way of its own.
    `replaces` is what the real provider plans; `exceptions` are nested paths that differ from it: (kind, path below).
    `unsupported` is the reason why the local provider refuses the property. `pairs`: an object here, a list of pairs in
    the API. `forth` and `back` translate a value whose form in the API follows no rule.
    """

    member: str = ""
    required: bool = False
    replaces: bool = False
    computed: bool = False
    json: bool = False
    sent: bool = True
    default: Plain = None
    unsupported: str = ""
    pairs: bool = False
    forth: Callable[[Plain], Plain] | None = None
    back: Callable[[Plain], Plain] | None = None
    exceptions: Exceptions = field(default_factory=dict)

    def replaced_by(self, change: Change) -> bool:
        """Whether the change cannot be made in place."""
        return self.exceptions.get((change.kind, change.below), self.replaces)

    def same(self, old: Plain, new: Plain) -> bool:
        """Whether two values mean the same to AWS."""
        return next(self.changes(old, new, ""), None) is None

    def changes(self, old: Plain, new: Plain, path: str) -> Iterator[Change]:
        """The differences from one value to the other."""
        if (self.computed and new is None) or (self.json and same_json(old, new)):
            return
        yield from changes(old, new, path)


def props(text: str = "", **declared: Prop) -> dict[str, Prop]:
    """Properties, the plain ones as words: `name` is updated in place, `name!` replaces, `*` at the end: required."""
    found = {}
    for word in text.split():
        name = word.rstrip("!*")
        found[name] = Prop(replaces="!" in word, required="*" in word)
    return found | declared


REGION = Prop(replaces=True, computed=True, sent=False)
TAGS = Prop(sent=False)
