"""The steps of an operation: each told, done through the provider, and recorded before and after."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter

from infra.engine import planner, urns
from infra.engine.errors import EngineError, ProviderFailure
from infra.engine.journal import Journal
from infra.engine.planner import Diff, Goal, Op
from infra.engine.plugins import Plugin, Plugins
from infra.engine.result import Diagnostic, OnEvent, Step, StepDone, StepFailed, StepStarted, changes
from infra.engine.state import Resource
from infra.engine.store import now
from infra.engine.values import UNKNOWN_TEXT, Properties, Secret, plain


class Skipped(Exception):  # noqa: N818 - no error of its own: something failed before
    """Nothing more is begun, because a step failed or the operation was interrupted."""


class Steps:
    """Carries steps out. In a preview nothing is changed: providers answer what is known already, the journal forgets."""

    def __init__(
        self,
        journal: Journal,
        plugins: Plugins,
        on_event: OnEvent,
        *,
        preview: bool,
        parallel: int,
        provider_inputs: Callable[[Resource], Properties] = lambda resource: resource.inputs,
    ) -> None:
        self.journal, self.plugins, self.preview = journal, plugins, preview
        self.done: list[Step] = []
        self.failures: list[StepFailed] = []
        self._on_event, self._parallel, self._provider_inputs = on_event, parallel, provider_inputs
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._running: dict[str, Plugin] = {}

    # --- telling ------------------------------------------------------------------------------------------------------

    def step(self, op: Op, urn: str, type_: str = "", diff: Diff | None = None, reason: str = "", **sides: Properties) -> Step:
        """A step on a resource; `sides` are the `old` and `new` inputs that its diff is shown with."""
        found = diff or Diff()
        listed = changes(found, sides.get("old", {}), sides.get("new", {})) if diff else ()
        return Step(op, urn, type_ or urns.type_of(urn), urns.name_of(urn), found.changed, found.replaces, listed, reason)

    def tell(self, event: Diagnostic | StepStarted | StepDone | StepFailed) -> None:
        """Passes an event on; one at a time."""
        with self._lock:
            self._on_event(event)

    def fail(self, failure: StepFailed) -> None:
        """Records a failure: what runs ends well, nothing more begins."""
        with self._lock:
            self.failures.append(failure)
            self._stopped.set()
            self._on_event(failure)

    def refuse(self, urn: str, type_: str, message: str, op: Op = Op.CREATE) -> None:
        """Records that a resource could not even be planned."""
        self.fail(StepFailed(self.step(op, urn, type_), message))

    def stop(self) -> None:
        """Begins nothing more."""
        self._stopped.set()

    def go_on(self) -> None:
        """Raises Skipped after a failure."""
        if self._stopped.is_set():
            raise Skipped

    @contextmanager
    def told(self, step: Step) -> Iterator[None]:
        """Tells the beginning and the end of a step; a provider's refusal becomes a failure, and Skipped is raised."""
        self.go_on()
        self.tell(StepStarted(step))
        began = perf_counter()
        try:
            yield
        except ProviderFailure as error:
            self.fail(StepFailed(step, str(error)))
            raise Skipped from error
        with self._lock:
            self.done.append(step)
        self.tell(StepDone(step, perf_counter() - began))

    def save(self) -> None:
        """Saves the state, unless this is a preview."""
        if not self.preview:
            self.journal.save()

    @contextmanager
    def _pending(self, kind: str, resource: Resource) -> Iterator[None]:
        if self.preview or not resource.custom or urns.is_provider(resource.type):
            yield
            self.save()
        else:
            with self.journal.operation(kind, resource):
                yield

    # --- providers ----------------------------------------------------------------------------------------------------

    def reference(self, resource: Resource) -> str:
        """How resources refer to a provider; in a preview its id may not be known yet."""
        return f"{resource.urn}::{resource.id or UNKNOWN_TEXT}"

    def plugin(self, reference: str) -> Plugin:
        """The provider behind a reference: registered in this run, or brought up from the state.

        Raises:
            EngineError: the state has no such provider.
        """
        with self._lock:
            if reference not in self._running:
                known = self.provider(reference)
                plugin = self.plugins.start(urns.package_of(known.type))
                plugin.configure(self._provider_inputs(known))
                self._running[reference] = plugin
            return self._running[reference]

    def provider(self, reference: str) -> Resource:
        """The provider resource behind a reference.

        Raises:
            EngineError: the state has no such provider.
        """
        for resource in self.journal.snapshot().resources:
            if self.reference(resource) == reference:
                return resource
        raise EngineError(f"provider {reference} is not in the state: restore the state from its .bak")

    def _configure(self, resource: Resource, plugin: Plugin) -> Resource:
        plugin.configure(resource.inputs)
        with self._lock:
            self._running[self.reference(resource)] = plugin
        return replace(resource, outputs={k: v for k, v in resource.inputs.items() if k != "__internal"})

    # --- what is done to a registered resource ------------------------------------------------------------------------

    def same(self, old: Resource, new: Resource, plugin: Plugin | None, index: int | None) -> Resource:
        """Nothing changes but what the engine itself keeps: options, dependencies."""
        kept = replace(
            new,
            id=old.id,
            inputs=old.inputs if old.inputs == new.inputs else new.inputs,
            outputs=_hidden(old.outputs, new),
            created=old.created,
            modified=old.modified,
        )
        with self.told(self.step(Op.SAME, new.urn, new.type)):
            if plugin is not None and urns.is_provider(new.type):
                kept = replace(self._configure(kept, plugin), outputs=old.outputs)
            before = None if index is None else self.journal.left().get(index)
            self.journal.settle(before if before == kept else kept, index)
            if before != kept:
                self.save()
        return kept

    def create(self, op: Op, new: Resource, plugin: Plugin | None, diff: Diff | None = None) -> Resource:
        """Makes a resource."""
        with self.told(self.step(op, new.urn, new.type, diff)), self._pending("creating", new):
            made = self._made(new, plugin)
            self.journal.settle(made)
        return made

    def _made(self, new: Resource, plugin: Plugin | None) -> Resource:
        identity, outputs = "", new.outputs
        if plugin is not None and urns.is_provider(new.type):
            identity = "" if self.preview else str(uuid.uuid4())
            return _stamped(self._configure(replace(new, id=identity), plugin))
        if plugin is not None:
            timeout = new.custom_timeouts.get("create", 0.0)
            identity, outputs = plugin.create(new.urn, new.inputs, timeout, preview=self.preview)
        return _stamped(replace(new, id=identity, outputs=_hidden(outputs, new)))

    def update(
        self, old: Resource, new: Resource, plugin: Plugin | None, index: int | None, diff: Diff, ignore: tuple[str, ...]
    ) -> Resource:
        """Changes a resource in place."""
        new = replace(new, id=old.id, outputs=old.outputs, created=old.created, modified=old.modified)
        step = self.step(Op.UPDATE, new.urn, new.type, diff, old=old.inputs, new=new.inputs)
        with self.told(step), self._pending("updating", new):
            if plugin is not None and urns.is_provider(new.type):
                made = self._configure(new, plugin)
            elif plugin is not None:
                made = replace(new, outputs=_hidden(plugin.update(old, new, ignore, preview=self.preview), new))
            else:
                made = new
            made = replace(made, modified=now(), created=old.created)
            self.journal.settle(made, index)
        return made

    def replace(
        self, old: Resource, new: Resource, plugin: Plugin | None, index: int | None, diff: Diff, *, gone: bool
    ) -> Resource:
        """Makes another in a resource's place. `gone`: the old one exists no more; otherwise it is deleted at the end."""
        sides = {"old": old.inputs, "new": new.inputs}
        making = self.step(Op.CREATE_REPLACEMENT, new.urn, new.type, diff, **sides)
        replacing = self.step(Op.REPLACE, new.urn, new.type, diff if diff.changes else None, **sides)
        if gone:
            with self.told(replacing):
                pass
        with self.told(making), self._pending("creating", new):
            made = self._made(new, plugin)
            if index is not None and not gone:
                self.journal.mark(index, replace(self.journal.old(index), delete=True))
            self.journal.settle(made, index if gone else None)
        if not gone:
            with self.told(replacing):
                pass
        return made

    def read(self, op: Op, wanted: Resource, plugin: Plugin, index: int | None) -> Resource:
        """Looks at a resource that somebody else owns."""
        with self.told(self.step(op, wanted.urn, wanted.type)):
            identity, outputs, _ = plugin.read(wanted.urn, wanted.id, {}, wanted.inputs)
            if not identity:
                raise ProviderFailure(f"resource {wanted.id!r} does not exist")
            found = replace(wanted, id=identity, outputs=_hidden(outputs, wanted), external=True)
            self.journal.settle(found, index)
            self.save()
        return found

    def import_(self, goal: Goal, plugin: Plugin, seed: bytes) -> Resource:
        """Takes over a resource that exists; what the program says of it has to be so already."""
        with self.told(self.step(Op.IMPORT, goal.urn, goal.type)):
            identity, outputs, inputs = plugin.read(goal.urn, goal.import_id, {}, {})
            if not identity:
                raise ProviderFailure(f"resource {goal.import_id!r} does not exist")
            checked = plugin.check(goal.urn, inputs, goal.inputs, seed)
            found = _stamped(replace(goal.state(checked), id=identity, outputs=outputs))
            diff = planner.settle(plugin.diff(found, checked, goal.ignore_changes), inputs, checked, ())
            if diff.changes:
                told = "; ".join(f"{c.path} is {c.old!r}, the program says {c.new!r}" for c in changes(diff, inputs, checked))
                raise ProviderFailure(f"cannot be imported as declared: {told}; declare it as it is, import it, then change it")
            found = replace(found, outputs=_hidden(outputs, found))
            self.journal.settle(found)
            self.save()
        return found

    # --- deleting -----------------------------------------------------------------------------------------------------

    def delete(self, index: int, op: Op, *, replaced: bool = False, spared: Iterable[str] = ()) -> None:
        """Deletes an old resource. `replaced`: its place stays taken in the state until its replacement exists.

        `spared` are URNs that go in the same operation: what was `deletedWith` one of them needs no call of its own.
        """
        old = self.journal.old(index)
        with self.told(self.step(op, old.urn, old.type)):
            asked = old.custom and not urns.is_provider(old.type) and op in (Op.DELETE, Op.DELETE_REPLACED)
            if asked and not old.retain_on_delete and old.deleted_with not in set(spared):
                plugin = self.plugin(old.provider)
                with self._pending("deleting", old):
                    if not self.preview:
                        plugin.delete(old)
                    self._forget(index, old, replaced=replaced)
            else:
                self._forget(index, old, replaced=replaced)
                self.save()

    def _forget(self, index: int, old: Resource, *, replaced: bool) -> None:
        if replaced:
            self.journal.mark(index, replace(old, pending_replacement=True))
        else:
            self.journal.drop(index)

    def delete_left(self) -> None:
        """Deletes every old resource that no step has settled, what needs something before what it needs.

        What is protected stays, with all that it needs, and is a failure, told when the rest is gone.
        """
        left = self.journal.left()
        protected = [r for r in left.values() if r.protect and planner.deletion_op(r) is Op.DELETE]
        kept = planner.kept_for(list(left.values()), {r.urn for r in protected})
        left = {i: r for i, r in left.items() if r.urn not in kept}
        indices, olds = list(left), list(left.values())
        spared = {r.urn for r in olds if planner.deletion_op(r) is Op.DELETE}
        for level in planner.deletion_levels(olds):
            if self._stopped.is_set():
                break
            with ThreadPoolExecutor(self._parallel, thread_name_prefix="deletion") as pool:
                for _ in pool.map(lambda i: self._delete_one(indices[i], olds[i], spared), level):
                    pass
        for resource in protected:
            step = self.step(Op.DELETE, resource.urn, resource.type)
            self.tell(StepStarted(step))
            if self.preview:
                self.done.append(step)
            self.fail(StepFailed(step, _PROTECTED.format(resource.urn)))

    def _delete_one(self, index: int, old: Resource, spared: set[str]) -> None:
        try:
            self.delete(index, planner.deletion_op(old), spared=spared)
        except Skipped:
            return  # told already
        except (EngineError, ProviderFailure) as error:
            self.fail(StepFailed(self.step(planner.deletion_op(old), old.urn, old.type), str(error)))


_PROTECTED = (
    "it is protected and cannot be deleted; declare it without protect, run up, then remove it "
    "(or: pulumi state unprotect '{}')"
)


def _stamped(resource: Resource) -> Resource:
    moment = now()
    return replace(resource, created=moment, modified=moment)


def _hidden(outputs: Properties, resource: Resource) -> Properties:
    """Outputs with those that the program calls secret marked so."""
    return {k: Secret(plain(v)) if k in resource.additional_secret_outputs else v for k, v in outputs.items()}
