"""Refresh: the state is brought to what exists."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from infra.engine import planner, urns
from infra.engine.errors import EngineError, ProviderError
from infra.engine.planner import Diff, Op
from infra.engine.progress import Skipped
from infra.engine.result import StepFailed
from infra.engine.state import Resource
from infra.engine.steps import Steps
from infra.engine.store import now
from infra.engine.targets import Targets
from infra.engine.values import plain


def refresh(steps: Steps, parallel: int, targets: Targets = Targets()) -> None:  # noqa: B008 - frozen
    """Reads every target: what is gone leaves the state, what differs is taken over, the rest stays as it is."""
    before = steps.journal.left()
    targets.check(r.urn for r in before.values())
    looked_at = [(i, r) for i, r in before.items() if targets.names(r.urn)]
    with ThreadPoolExecutor(parallel, thread_name_prefix="refresh") as pool:
        for _ in pool.map(lambda item: _one(steps, *item), looked_at):
            pass
    lost = {r.urn for r in steps.journal.left().values()}
    for index, resource in steps.journal.left().items():
        kept = _without(resource, lost)
        if kept != resource:
            steps.journal.mark(index, kept)
    steps.save()


def _one(steps: Steps, index: int, old: Resource) -> None:
    try:
        if not old.custom or urns.is_provider(old.type) or old.pending_replacement:
            with steps.told(steps.step(Op.SAME, old.urn, old.type)):
                return
        plugin = steps.plugin(old.provider)
        identity, outputs, inputs = plugin.read(old.urn, old.id, old.outputs, old.inputs)
        if not identity:
            with steps.told(steps.step(Op.DELETE, old.urn, old.type, reason="it exists no more")):
                steps.journal.drop(index)
            return
        diff = planner.settle(Diff(), old.outputs, outputs, ())
        op = Op.UPDATE if diff.changes else Op.SAME
        found = replace(old, id=identity, outputs=outputs, inputs=inputs or old.inputs, modified=now())
        with steps.told(
            steps.step(op, old.urn, old.type, diff if diff.changes else None, old=old.outputs, new=outputs)
        ):
            if diff.changes or plain(found.inputs) != plain(old.inputs):
                steps.journal.mark(index, found)
    except Skipped:
        return
    except (EngineError, ProviderError) as error:
        steps.fail(StepFailed(steps.step(Op.REFRESH, old.urn, old.type), str(error)))


def _without(resource: Resource, kept: set[str]) -> Resource:
    """The resource without dependencies on what exists no more, and without empty ones, as the real engine has it."""
    return replace(
        resource,
        dependencies=tuple(u for u in resource.dependencies if u in kept),
        property_dependencies={
            k: tuple(u for u in v if u in kept)
            for k, v in resource.property_dependencies.items()
            if kept.intersection(v)
        },
        deleted_with=resource.deleted_with if resource.deleted_with in kept else "",
    )
