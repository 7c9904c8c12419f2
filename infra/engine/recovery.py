"""What a process that died left under way: found out by looking, before anything else is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from infra.engine import urns
from infra.engine.errors import EngineError, ProviderError
from infra.engine.result import Diagnostic
from infra.engine.state import Operation, Resource
from infra.engine.steps import Steps
from infra.engine.store import now


def recover(steps: Steps, pending: Iterable[Operation]) -> None:
    """Brings the state to what became of interrupted operations.

    A creation is looked for by its inputs (see plugins) and taken in if it is there; an update or a deletion is looked
    at by its id. What a provider cannot tell is told to the user, and left as the state has it.
    """
    for operation in pending:
        resource = operation.resource
        urn = resource.urn
        try:
            plugin = steps.plugin(resource.provider)
            identity, outputs, inputs = plugin.read(urn, resource.id, resource.outputs, resource.inputs)
        except ProviderError as error:
            if error.uncertain and not steps.preview:
                raise EngineError(
                    f"{urns.label(urn)} was interrupted while {operation.type}, and what became of it cannot be asked: "
                    f"{error}; nothing was done, run this again when there is an answer"
                ) from error
            steps.tell(
                Diagnostic("warning", f"interrupted while {operation.type}, and not to be found out: {error}", urn)
            )
            continue
        index = _index(steps, resource)
        if operation.type == "creating":
            found = replace(resource, id=identity, outputs=outputs, created=now(), modified=now()) if identity else None
            _take_in(steps, found, index)
        elif index is not None and not identity:
            if not steps.journal.old(index).pending_replacement:
                steps.journal.drop(index)
        elif index is not None:
            old = steps.journal.old(index)
            steps.journal.mark(index, replace(old, outputs=outputs, inputs=inputs or old.inputs))
        what = f"is there as {identity!r}" if identity else "is not there"
        steps.tell(Diagnostic("info", f"interrupted while {operation.type} {urns.label(urn)}: it {what}", urn))


def _index(steps: Steps, resource: Resource) -> int | None:
    same = [i for i, r in steps.journal.left().items() if r.urn == resource.urn]
    if resource.id:
        same = [i for i in same if steps.journal.old(i).id == resource.id]
    else:
        same = [i for i in same if not steps.journal.old(i).delete]
    return same[0] if same else None


def _take_in(steps: Steps, found: Resource | None, index: int | None) -> None:
    """Enters a resource whose creation was interrupted, in the place of what it was to replace."""
    known = [r for r in steps.journal.left().values() if not r.pending_replacement]
    if found is None or any(r.urn == found.urn and r.id == found.id for r in known):
        return  # it was not made, or made and entered already: only the record of its creation was left
    if index is None:
        steps.journal.append(found)
    elif steps.journal.old(index).pending_replacement:
        steps.journal.mark(index, found)
    else:  # the old one is still in use: the half-made replacement goes, and is made again where it is still wanted
        steps.journal.append(replace(found, delete=True))
