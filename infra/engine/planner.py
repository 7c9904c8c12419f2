"""What to do with a resource, and in which order to delete: pure functions of old state, new goal and provider's diff.

The rules are those of the real engine (pulumi/pkg/resource/deploy/step_generator.go), which the functional tests let
run the same programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from infra.engine import paths
from infra.engine.state import Resource
from infra.engine.urns import Alias
from infra.engine.values import UNKNOWN, Properties, plain


class Op(StrEnum):
    """Pulumi's own names of what is done to a resource."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    CREATE_REPLACEMENT = "create-replacement"
    DELETE_REPLACED = "delete-replaced"
    DELETE = "delete"
    READ = "read"
    DISCARD = "discard"
    IMPORT = "import"
    IMPORT_REPLACEMENT = "import-replacement"
    REFRESH = "refresh"
    REMOVE_PENDING = "remove-pending-replace"

    @property
    def logical(self) -> bool:
        """Whether the operation counts in a summary; the parts of a replacement and looking do not."""
        return self not in _PARTS


_PARTS: Final = (Op.CREATE_REPLACEMENT, Op.IMPORT_REPLACEMENT, Op.DELETE_REPLACED, Op.REMOVE_PENDING, Op.READ)


@dataclass(frozen=True, slots=True)
class Goal:
    """A resource as the program declares it."""

    urn: str
    type: str
    custom: bool
    inputs: Properties
    parent: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: str = ""
    version: str = ""
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[Alias, ...] = ()
    import_id: str = ""
    deleted_with: str = ""
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def inheriting(self, parent: Goal | None) -> Goal:
        """With what a resource takes over from its parent where it does not say otherwise itself."""
        if parent is None:
            return self
        return replace(
            self,
            protect=parent.protect if self.protect is None else self.protect,
            retain_on_delete=parent.retain_on_delete if self.retain_on_delete is None else self.retain_on_delete,
            deleted_with=self.deleted_with or parent.deleted_with,
        )

    def state(self, inputs: Properties) -> Resource:
        """The resource as it will be recorded, without id, outputs and times."""
        return Resource(
            urn=self.urn,
            type=self.type,
            custom=self.custom,
            inputs=inputs,
            parent=self.parent,
            provider=self.provider,
            dependencies=self.dependencies,
            property_dependencies=self.property_dependencies,
            protect=bool(self.protect),
            retain_on_delete=bool(self.retain_on_delete),
            deleted_with=self.deleted_with,
            additional_secret_outputs=self.additional_secret_outputs,
            custom_timeouts=self.custom_timeouts,
            import_id=self.import_id,
            extra=self.extra,
        )


@dataclass(frozen=True, slots=True)
class Diff:
    """How a provider compares the old state of a resource with new inputs.

    `changes` is None where it does not know. `detailed` maps property paths to add, delete or update, each with or
    without `-replace`.
    """

    changes: bool | None = None
    replaces: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    delete_before_replace: bool = False
    detailed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one registered resource. `delete_first`: the old one goes before the new one comes."""

    op: Op
    delete_first: bool = False
    diff: Diff = Diff()


def settle(diff: Diff, old: Properties, new: Properties, replace_on_changes: Iterable[str]) -> Diff:
    """A provider's diff, completed: from the inputs where it does not know, and with replaceOnChanges applied."""
    if diff.changes is None:
        found = {paths.text_of(path): _kind(was, now) for path, was, now in paths.differences(plain(old), plain(new))}
        tops = dict.fromkeys(str(paths.parse(text)[0]) for text in found)
        diff = replace(diff, changes=bool(found) or bool(diff.replaces), detailed=found, changed=tuple(tops))
    patterns = [paths.parse(text) for text in replace_on_changes]
    if not diff.changes or not patterns:
        return diff
    detailed = dict(diff.detailed) or dict.fromkeys(diff.changed, "update")
    forced = [t for t in detailed if any(paths.covers(p, paths.parse(t)) for p in patterns)]
    keys = dict.fromkeys([*diff.replaces, *(str(paths.parse(text)[0]) for text in forced)])
    marked = {t: f"{k.removesuffix('-replace')}-replace" if t in forced else k for t, k in detailed.items()}
    return replace(diff, replaces=tuple(keys), detailed=marked if diff.detailed else {})


def _kind(was: Any, now: Any) -> str:
    return "add" if was is paths.MISSING else "delete" if now is paths.MISSING else "update"


def decide(old: Resource | None, goal: Goal, diff: Diff, *, recreating: bool = False) -> Decision:
    """The operation for a registered resource.

    `old` is its last state, if it has one, and `diff` the settled diff between that and the goal. `recreating`: it has
    already been deleted in this run, since something that it needs was replaced.
    """
    if old is None:
        return Decision(Op.CREATE)
    if recreating or old.pending_replacement or old.external:
        return Decision(Op.REPLACE, diff=diff)
    if not diff.changes:
        return Decision(Op.SAME)
    if not diff.replaces:
        return Decision(Op.UPDATE, diff=diff)
    first = diff.delete_before_replace if goal.delete_before_replace is None else goal.delete_before_replace
    return Decision(Op.REPLACE, delete_first=first, diff=diff)


def cascade(
    olds: Sequence[Resource],
    root: Resource,
    seen: AbstractSet[str],
    would_replace: Callable[[Resource, Properties], tuple[str, ...]],
) -> list[tuple[Resource, tuple[str, ...]]]:
    """What has to go before `root` can be deleted to be replaced: its dependents that its absence would replace.

    `would_replace(resource, inputs)` asks the provider which properties replace it; `inputs` has unknowns where a value
    came from something that goes. Resources registered already (`seen`) cannot depend on it any more. Each comes with
    those properties (none where its provider goes), in order of dependency: delete from the end.
    """
    going = {root.urn}
    reached = {root.urn}
    found = []
    for resource in olds:
        if resource is root or resource.urn in seen or resource.delete or not reached.intersection(resource.needs()):
            continue
        reached.add(resource.urn)
        if not resource.custom or resource.external:
            continue
        inputs = {
            key: UNKNOWN if going.intersection(resource.property_dependencies.get(key, ())) else value
            for key, value in resource.inputs.items()
        }
        keys: tuple[str, ...] = ()
        if any(v is UNKNOWN for v in inputs.values()):
            keys = would_replace(resource, inputs)
        if keys or resource.provider.rpartition("::")[0] in going:
            going.add(resource.urn)
            found.append((resource, keys))
    return found


def deletion_op(resource: Resource) -> Op:
    """How a resource that is in the state and no longer wanted is got rid of."""
    if resource.delete:
        return Op.DELETE_REPLACED
    if resource.pending_replacement:
        return Op.REMOVE_PENDING
    return Op.DISCARD if resource.external else Op.DELETE


def deletion_levels(olds: Sequence[Resource]) -> list[list[int]]:
    """The order of deletion: groups of indices into `olds`, each to be deleted after the groups before it.

    What needs something is deleted before it. `olds` (all of them go) is in order of dependency, so that a resource
    only ever needs what stands before it; each group is in reverse order.
    """
    by_urn: dict[str, list[int]] = {}
    for index, resource in enumerate(olds):
        by_urn.setdefault(resource.urn, []).append(index)
    level = [0] * len(olds)
    for index in reversed(range(len(olds))):
        for urn in olds[index].needs():
            for needed in by_urn.get(urn, ()):
                if needed < index:
                    level[needed] = max(level[needed], level[index] + 1)
    groups: list[list[int]] = [[] for _ in range(max(level, default=-1) + 1)]
    for index in reversed(range(len(olds))):
        groups[level[index]].append(index)
    return groups


def kept_for(olds: Sequence[Resource], protected: AbstractSet[str]) -> set[str]:
    """The URNs that have to stay because protected ones do: those themselves, and all that they need."""
    kept = set(protected)
    for resource in reversed(olds):  # in order of dependency, so that once is enough
        if resource.urn in kept:
            kept.update(resource.needs())
    return kept
