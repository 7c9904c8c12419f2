"""What an operation did, or would do, and the events while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.engine import paths
from infra.engine.planner import Diff, Op
from infra.engine.values import UNKNOWN, Properties, Secret, has_secret, masked


@dataclass(frozen=True, slots=True)
class Change:
    """One property that differs. `kind`: add, delete or update, with `-replace` where it forces a replacement.

    `old` and `new` are None where there is nothing; secrets are `Secret`, unknowns `UNKNOWN`.
    """

    path: str
    kind: str
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on one resource."""

    op: Op
    urn: str
    type: str
    name: str
    keys: tuple[str, ...] = ()
    """Properties that changed."""
    replace_keys: tuple[str, ...] = ()
    """Those of them that force a replacement."""
    diff: tuple[Change, ...] = ()
    reason: str = ""
    inputs: Properties = field(default_factory=dict, compare=False, repr=False)
    """What the program declares; may hold secrets and unknowns."""

    def to_json(self) -> dict[str, Any]:
        """As plain data; secrets masked."""
        return {
            "op": str(self.op),
            "urn": self.urn,
            "type": self.type,
            "name": self.name,
            "keys": list(self.keys),
            "replaceKeys": list(self.replace_keys),
            "diff": [{"path": c.path, "kind": c.kind, "old": masked(c.old), "new": masked(c.new)} for c in self.diff],
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class StepStarted:
    """An operation begins."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepDone:
    """An operation has ended well and is in the state."""

    step: Step
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An operation has failed; `message` says why, in the provider's words."""

    step: Step
    message: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something that the program, the provider or the engine has to say. severity: info, warning or error."""

    severity: str
    message: str
    urn: str = ""


Event = StepStarted | StepDone | StepFailed | Diagnostic
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did, in the order in which it was done."""

    stack: str
    operation: str
    steps: tuple[Step, ...] = ()
    outputs: Properties = field(default_factory=dict)
    """The stack's outputs; secret ones are `Secret`."""
    failures: tuple[StepFailed, ...] = ()

    @property
    def summary(self) -> dict[str, int]:
        """Resources by operation, as Pulumi counts: no default providers, no parts of replacements, no reads."""
        refused = [f.step for f in self.failures]  # a preview shows them among the steps as well
        counted = Counter(
            str(s.op) for s in self.steps if s.op.logical and s not in refused and not _is_default_provider(s)
        )
        return dict(sorted(counted.items()))

    @property
    def changed(self) -> bool:
        """Whether anything but looking was done, or would be."""
        return any(s.op not in (Op.SAME, Op.READ, Op.REFRESH) for s in self.steps)

    def to_json(self) -> dict[str, Any]:
        """As plain data; secrets masked."""
        return {
            "stack": self.stack,
            "operation": self.operation,
            "summary": self.summary,
            "changed": self.changed,
            "steps": [step.to_json() for step in self.steps],
            "outputs": masked(self.outputs),
            "failures": [{"urn": f.step.urn, "op": str(f.step.op), "message": f.message} for f in self.failures],
        }


def _is_default_provider(step: Step) -> bool:
    return step.type.startswith("pulumi:providers:") and (step.name == "default" or step.name.startswith("default_"))


def changes(diff: Diff, old: Properties, new: Properties) -> tuple[Change, ...]:
    """The diff property by property, with both values. Old ones come from the inputs, as the program wrote them."""
    kinds = dict(diff.detailed) or {
        k: f"{_kind(old, new, k)}-replace" if k in diff.replaces else _kind(old, new, k) for k in diff.changed
    }
    listed = []
    for text, kind in sorted(kinds.items()):
        path = paths.parse(text)
        was, now = (None if v is paths.MISSING else v for v in (paths.get(old, path), paths.get(new, path)))
        if has_secret(was) != has_secret(now):  # the other side of a secret is one as well
            was, now = (v if v is None or v is UNKNOWN or isinstance(v, Secret) else Secret(v) for v in (was, now))
        listed.append(Change(text, kind, was, now))
    return tuple(listed)


def _kind(old: Properties, new: Properties, key: str) -> str:
    return "add" if key not in old else "delete" if key not in new else "update"
