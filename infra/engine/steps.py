"""The steps on registered resources: each told, done through the provider, and recorded before and after."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from infra.engine import urns
from infra.engine.errors import EngineError, ProviderError
from infra.engine.journal import Journal
from infra.engine.planner import Diff, Goal, Op
from infra.engine.plugins import Plugin, Plugins
from infra.engine.progress import Progress
from infra.engine.result import OnEvent
from infra.engine.state import Resource
from infra.engine.store import now
from infra.engine.values import UNKNOWN_TEXT, Properties, Secret, plain


class Steps(Progress):
    """Carries steps out. In a preview nothing is changed: providers answer what is known already, nothing is saved."""

    def __init__(
        self,
        journal: Journal,
        plugins: Plugins,
        on_event: OnEvent,
        *,
        preview: bool,
        provider_inputs: Callable[[Resource], Properties] = lambda resource: resource.inputs,
    ) -> None:
        super().__init__(on_event)
        self.journal, self.plugins, self.preview = journal, plugins, preview
        self._provider_inputs = provider_inputs
        self._running: dict[str, Plugin] = {}

    def save(self) -> None:
        """Saves the state, unless this is a preview."""
        if not self.preview:
            self.journal.save()

    @contextmanager
    def pending(self, kind: str, resource: Resource) -> Iterator[None]:
        """Records a change that a provider makes as under way, and saves the state at its end."""
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
        with self.told(self.step(Op.SAME, new.urn, new.type)):
            return self.keep(old, new, plugin, index)

    def keep(self, old: Resource, new: Resource, plugin: Plugin | None, index: int | None) -> Resource:
        """The same, of a resource that has been told of."""
        kept = replace(
            new,
            id=old.id,
            inputs=old.inputs if old.inputs == new.inputs else new.inputs,
            outputs=_hidden(old.outputs, new),
            created=old.created,
            modified=old.modified,
        )
        if plugin is not None and urns.is_provider(new.type):
            kept = replace(self._configure(kept, plugin), outputs=old.outputs)
        before = None if index is None else self.journal.old(index)
        self.journal.settle(before if before == kept else kept, index)
        if before != kept:
            self.save()
        return kept

    def create(self, op: Op, new: Resource, plugin: Plugin | None, diff: Diff | None = None) -> Resource:
        """Makes a resource."""
        with self.told(self.step(op, new.urn, new.type, diff, new=new.inputs)), self.pending("creating", new):
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
        self,
        old: Resource,
        new: Resource,
        plugin: Plugin | None,
        index: int | None,
        diff: Diff,
        ignore: tuple[str, ...],
    ) -> Resource:
        """Changes a resource in place."""
        new = replace(new, id=old.id, outputs=old.outputs, created=old.created, modified=old.modified)
        step = self.step(Op.UPDATE, new.urn, new.type, diff, old=old.inputs, new=new.inputs)
        with self.told(step), self.pending("updating", new):
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
        """Makes another in a resource's place. `gone`: the old one exists no more; else it is deleted at the end."""
        making = self.step(Op.CREATE_REPLACEMENT, new.urn, new.type, diff, old=old.inputs, new=new.inputs)
        whole = diff if diff.changes else None  # one that goes with another has no diff of its own
        replacing = self.step(Op.REPLACE, new.urn, new.type, whole, old=old.inputs, new=new.inputs)
        if gone:
            with self.told(replacing):
                pass
        with self.told(making), self.pending("creating", new):
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
                raise ProviderError(f"resource {wanted.id!r} does not exist")
            found = replace(wanted, id=identity, outputs=_hidden(outputs, wanted), external=True)
            self.journal.settle(found, index)
            self.save()
        return found

    def import_(self, goal: Goal, plugin: Plugin, index: int | None) -> tuple[int, Resource]:
        """Takes over a resource that exists, as it is, in the place of an old one of that name if there is one.

        The answer is an old resource, as if an earlier operation had made it, and its index.
        """
        op = Op.IMPORT if index is None else Op.IMPORT_REPLACEMENT
        with self.told(self.step(op, goal.urn, goal.type)):
            found = self.found(goal, goal.import_id, plugin)
            if index is not None:
                self.journal.mark(index, replace(self.journal.old(index), delete=True))
            at = self.journal.append(found)
            self.save()
        if index is not None:
            with self.told(self.step(Op.REPLACE, goal.urn, goal.type)):
                pass
        return at, found

    def found(self, goal: Goal, identity: str, plugin: Plugin) -> Resource:
        """A resource as it exists.

        Raises:
            ProviderError: it does not.
        """
        known, outputs, inputs = plugin.read(goal.urn, identity, {}, {})
        if not known:
            raise ProviderError(f"resource {identity!r} does not exist")
        made = _stamped(replace(goal.state(inputs), id=known))
        return replace(made, outputs=_hidden(outputs, made))


def _stamped(resource: Resource) -> Resource:
    moment = now()
    return replace(resource, created=moment, modified=moment)


def _hidden(outputs: Properties, resource: Resource) -> Properties:
    """Outputs with those that the program calls secret marked so."""
    return {k: Secret(plain(v)) if k in resource.additional_secret_outputs else v for k, v in outputs.items()}
