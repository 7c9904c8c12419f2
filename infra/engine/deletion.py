"""Deleting: one old resource before its replacement, or all that is left at the end, in the order that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from infra.engine import planner, urns
from infra.engine.errors import EngineError, ProviderError
from infra.engine.planner import Op
from infra.engine.progress import Skipped
from infra.engine.result import StepFailed, StepStarted
from infra.engine.state import Resource
from infra.engine.steps import Steps
from infra.engine.targets import Targets

_PROTECTED: Final = (
    "it is protected and cannot be deleted; declare it without protect, run up, then remove it "
    "(or: sagestage state unprotect '{}')"
)


def delete(steps: Steps, index: int, op: Op, *, replaced: bool = False, spared: Iterable[str] = ()) -> None:
    """Deletes an old resource. `replaced`: its place stays taken in the state until its replacement exists.

    `spared` are URNs that go in the same operation: what was `deletedWith` one of them needs no call of its own.
    """
    old = steps.journal.old(index)
    with steps.told(steps.step(op, old.urn, old.type)):
        asked = old.custom and not urns.is_provider(old.type) and op in (Op.DELETE, Op.DELETE_REPLACED)
        if asked and not old.retain_on_delete and old.deleted_with not in set(spared):
            plugin = steps.plugin(old.provider)
            with steps.pending("deleting", old):
                if not steps.preview:
                    plugin.delete(old)
                _forget(steps, index, old, replaced=replaced)
        else:
            _forget(steps, index, old, replaced=replaced)
            steps.save()


def _forget(steps: Steps, index: int, old: Resource, *, replaced: bool) -> None:
    if replaced:
        steps.journal.mark(index, replace(old, pending_replacement=True))
    else:
        steps.journal.drop(index)


def delete_left(steps: Steps, parallel: int, targets: Targets = Targets()) -> None:  # noqa: B008 - frozen
    """Deletes every old resource that no step has settled and that is a target, users before what they need.

    What is protected stays, with all that it needs, and is a failure, told when the rest is gone.
    """
    left = steps.journal.left()
    if targets.patterns:
        targets.check((*(r.urn for r in left.values()), *(r.urn for r in steps.journal.snapshot().resources)))
        targets.check_deletion(left)
        left = {i: r for i, r in left.items() if targets.names(r.urn)}
    protected = [r for r in left.values() if r.protect and planner.deletion_op(r) is Op.DELETE]
    kept = planner.kept_for(list(left.values()), {r.urn for r in protected})
    left = {i: r for i, r in left.items() if r.urn not in kept}
    indices, olds = list(left), list(left.values())
    spared = {r.urn for r in olds if planner.deletion_op(r) is Op.DELETE}
    for level in planner.deletion_levels(olds):
        if steps.stopped:
            return
        with ThreadPoolExecutor(parallel, thread_name_prefix="deletion") as pool:
            for _ in pool.map(lambda i: _delete_one(steps, indices[i], olds[i], spared), level):
                pass
    if steps.stopped:
        return
    for resource in protected:
        step = steps.step(Op.DELETE, resource.urn, resource.type)
        steps.tell(StepStarted(step))
        if steps.preview:
            steps.done.append(step)
        steps.fail(StepFailed(step, _PROTECTED.format(resource.urn)))


def _delete_one(steps: Steps, index: int, old: Resource, spared: set[str]) -> None:
    try:
        delete(steps, index, planner.deletion_op(old), spared=spared)
    except Skipped:
        return  # told already
    except (EngineError, ProviderError) as error:
        steps.fail(StepFailed(steps.step(planner.deletion_op(old), old.urn, old.type), str(error)))
