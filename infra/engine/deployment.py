"""An update under way: what the program registers, one resource after the other, becomes steps that are carried out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from infra.engine import deletion, paths, planner, urns
from infra.engine.errors import EngineError, ProviderError, unsupported
from infra.engine.planner import Decision, Diff, Goal, Op
from infra.engine.plugins import Plugin
from infra.engine.progress import Skipped
from infra.engine.state import Resource
from infra.engine.steps import Steps
from infra.engine.targets import Targets
from infra.engine.values import Properties, Secret, plain

SEED_BYTES = 32  # as the real engine's


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program learns of a resource. An empty id is unknown; `failed` makes all outputs unknown."""

    urn: str
    id: str = ""
    outputs: Properties | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """One registered resource, decided on."""

    goal: Goal
    decision: Decision
    inputs: Properties
    plugin: Plugin | None
    old: Resource | None
    index: int | None
    first: tuple[int, ...] = ()
    """Old resources to delete before, the resource's own last."""
    imported: bool = False
    """It was taken over a moment ago, and told of."""


class Deployment:
    """Decides on each registered resource in turn, as the real engine does, and carries the steps out in parallel."""

    def __init__(
        self,
        steps: Steps,
        stack: str,
        project: str,
        config: Mapping[str, Properties],
        targets: Targets = Targets(),  # noqa: B008 - frozen
    ) -> None:
        self.stack, self.project, self._targets = stack, project, targets
        self._left_out: set[str] = set()
        """URNs that are no target and do not exist yet: nothing may need them."""
        self._steps, self._config = steps, config
        self._planning = threading.RLock()
        self._seen: set[str] = set()
        self._aliased: dict[str, str] = {}
        self._deleted: dict[str, tuple[str, ...]] = {}
        """URNs deleted in this run because something that they need is replaced, with the properties it came in by."""
        self._doomed: list[str] = []
        """URNs that something under way deletes first, since they need it: nothing takes their place before it ends."""
        self._gone = threading.Condition()
        self._cascading = threading.Lock()
        self._live = {r.urn: i for i, r in steps.journal.left().items() if not r.delete}
        self._defaults: dict[tuple[str, str], str] = {}
        self._goals: dict[str, Goal] = {}

    def register(self, goal: Goal) -> Answer:
        """Brings one resource to where the program wants it. Never raises: a failure is an answer."""
        goal = goal.inheriting(self._goals.get(goal.parent))
        try:
            with self._planning:
                plan = self._plan(goal)
                self._goals[goal.urn] = goal
                doomed = self._doom(plan)
            try:
                if plan.decision.op is Op.IMPORT:
                    plan = self._imported(plan)
                done = self._carry_out(plan)
            finally:
                self._release(doomed)
        except Skipped:
            return Answer(goal.urn, failed=True)
        except (EngineError, ProviderError) as error:
            self._steps.refuse(goal.urn, goal.type, str(error))
            return Answer(goal.urn, failed=True)
        if goal.urn in self._left_out:
            return Answer(goal.urn, failed=True)  # what it would be is unknown
        # A component's outputs are the program's own affair; it registers them itself.
        return Answer(done.urn, done.id, done.outputs if done.custom else {})

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        """Records the outputs of a component, or of the stack. After a failure some are unknown: the old ones stay."""
        if self._steps.failures:
            return
        journal = self._steps.journal
        known = journal.new(urn)
        if known is not None and known.outputs != outputs:
            journal.settle(replace(known, outputs=outputs))
            self._steps.save()

    def default_provider(self, package: str, version: str) -> str:
        """The reference of the provider of a resource that names none; made at the first need.

        Raises:
            EngineError, ProviderError: there is no such provider, or it refuses its configuration.
        """
        with self._planning:
            known = self._defaults.get((package, version))
            if known is None:
                type_ = urns.PROVIDER_PREFIX + package
                name = "default" + "".join(f"_{c}" for c in [urns.identifier(version)] if c)
                inputs = dict(self._config.get(package, {}))
                if version:
                    inputs |= {"version": version, "__internal": {}}
                goal = Goal(urns.make(self.stack, self.project, "", type_, name), type_, custom=True, inputs=inputs)
                made = self._carry_out(self._plan(goal))
                known = self._defaults[package, version] = self._steps.reference(made)
            return known

    def read(self, goal: Goal, identity: str) -> Answer:
        """Looks at a resource that somebody else owns. Never raises, like `register`."""
        try:
            with self._planning:
                index, old = self._enter(goal)
                if old is not None and not old.external:
                    raise unsupported(f"{urns.label(goal.urn)}: only reading (get) a resource that the stack owns")
                reference = goal.provider or self.default_provider(urns.package_of(goal.type), goal.version)
                plugin = self._steps.plugin(reference)
            wanted = replace(replace(goal, provider=reference).state(goal.inputs), id=identity)
            found = self._steps.read(Op.READ, wanted, plugin, index)
        except Skipped:
            return Answer(goal.urn, failed=True)
        except (EngineError, ProviderError) as error:
            self._steps.refuse(goal.urn, goal.type, str(error), Op.READ)
            return Answer(goal.urn, failed=True)
        return Answer(found.urn, found.id, found.outputs)

    def get_resource(self, urn: str) -> Properties:
        """A resource of this stack by its URN, as `pulumi:pulumi:getResource` answers it.

        Raises:
            EngineError: the stack has none of that URN.
        """
        journal = self._steps.journal
        known = journal.new(urn) or next((r for r in journal.left().values() if r.urn == urn), None)
        if known is None:
            raise EngineError(f"unknown resource {urn}")
        return {"urn": urn, "id": known.id, "state": known.outputs}

    def invoke_plugin(self, token: str, provider: str, version: str) -> Plugin:
        """The provider that a function call goes to."""
        reference = provider or self.default_provider(urns.package_of(token), version)
        return self._steps.plugin(reference)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _enter(self, goal: Goal) -> tuple[int | None, Resource | None]:
        self._steps.go_on()
        if goal.urn in self._seen:
            raise EngineError(f"{urns.label(goal.urn)} is declared twice ({goal.urn}): give one of them another name")
        self._seen.add(goal.urn)
        return self._find(goal)

    def _plan(self, goal: Goal) -> _Plan:
        index, old = self._enter(goal)
        if not self._targets.has(goal.urn):
            return self._plan_untouched(goal, index, old)
        lacking = sorted(self._left_out.intersection(goal.state({}).needs()))
        if lacking:
            raise EngineError(
                f"{urns.label(goal.urn)} needs {lacking[0]}, which does not exist yet and is no target; add "
                f"--target {lacking[0]}"
            )
        if urns.is_provider(goal.type):
            return self._plan_provider(goal, index, old)
        if not goal.custom:
            diff = Diff() if old is None else planner.settle(Diff(), old.inputs, goal.inputs, ())
            return _Plan(goal, planner.decide(old, goal, replace(diff, replaces=())), goal.inputs, None, old, index)
        reference = goal.provider or self.default_provider(urns.package_of(goal.type), goal.version)
        return self._plan_custom(replace(goal, provider=reference), self._steps.plugin(reference), index, old)

    def _plan_untouched(self, goal: Goal, index: int | None, old: Resource | None) -> _Plan:
        """What is no target stays as it is; what does not exist yet is left out."""
        if old is None:
            self._left_out.add(goal.urn)
        plugin = self._steps.plugins.start(urns.package_of(goal.type)) if urns.is_provider(goal.type) else None
        return _Plan(goal, Decision(Op.SAME), goal.inputs, plugin, old, index)

    def _find(self, goal: Goal) -> tuple[int | None, Resource | None]:
        earlier = urns.alias_urns(goal.urn, goal.parent, goal.aliases, self._aliased, self.stack, self.project)
        for urn in (goal.urn, *earlier):
            index = self._live.get(urn)
            if index is None or (urn != goal.urn and urn in self._seen):
                continue
            del self._live[urn]
            if urn != goal.urn:
                self._aliased[goal.urn] = urn
                self._steps.journal.alias(urn, goal.urn)
            return index, replace(self._steps.journal.old(index), urn=goal.urn)
        return None, None

    def _plan_provider(self, goal: Goal, index: int | None, old: Resource | None) -> _Plan:
        package = urns.package_of(goal.type)
        plugin = self._steps.plugins.start(package)
        if goal.version and "version" not in goal.inputs:
            goal = replace(goal, inputs={**goal.inputs, "version": goal.version, "__internal": {}})
        given = {k: v for k, v in goal.inputs.items() if k != "__internal"}
        checked = plugin.check_config(goal.urn, old.inputs if old else {}, given)
        inputs = {**checked, **{k: v for k, v in goal.inputs.items() if k == "__internal"}}
        diff = Diff(changes=False)
        if old is not None and plain(old.inputs) != plain(inputs):
            raw = plugin.diff_config(goal.urn, old.id, old.outputs, inputs)
            diff = planner.settle(raw, old.inputs, inputs, goal.replace_on_changes)
        return _Plan(goal, planner.decide(old, goal, diff), inputs, plugin, old, index)

    def _plan_custom(self, goal: Goal, plugin: Plugin, index: int | None, old: Resource | None) -> _Plan:
        seed = os.urandom(SEED_BYTES)
        recreating = goal.urn in self._deleted or (old is not None and old.pending_replacement)
        given = goal.inputs
        before = "" if old is None else old.import_id or old.id
        if goal.import_id and not recreating and (old is None or old.external or before != goal.import_id):
            return _Plan(goal, Decision(Op.IMPORT), given, plugin, old, index)
        if old is None or recreating or old.external:
            inputs = plugin.check(goal.urn, {}, given, seed)
            decision = planner.decide(old, goal, Diff(replaces=self._deleted.get(goal.urn, ())), recreating=recreating)
            return self._guarded(_Plan(goal, decision, inputs, plugin, old, index))
        for text in goal.ignore_changes:
            given = paths.reset(given, old.inputs, paths.parse(text))
        inputs = plugin.check(goal.urn, old.inputs, given, seed)
        if self._moved(old.provider, goal.provider):
            diff = Diff(changes=True, replaces=("provider",), changed=("provider",))
        else:
            diff = planner.settle(
                plugin.diff(old, inputs, goal.ignore_changes), old.inputs, inputs, goal.replace_on_changes
            )
        plan = self._guarded(_Plan(goal, planner.decide(old, goal, diff), inputs, plugin, old, index))
        if plan.decision.op is Op.REPLACE:
            inputs = plugin.check(goal.urn, {}, goal.inputs, seed)  # a new name, and ignoreChanges has nothing to keep
            plan = replace(plan, inputs=inputs, first=self._first(old, index) if plan.decision.delete_first else ())
        return plan

    def _imported(self, plan: _Plan) -> _Plan:
        """What is to be done to a resource after it was imported: it may differ from what the program says."""
        if plan.plugin is None:
            raise EngineError(f"{urns.label(plan.goal.urn)}: a component has nothing to import; remove `import`")
        index, found = self._steps.import_(plan.goal, plan.plugin, plan.index)
        with self._planning:
            return replace(self._plan_custom(plan.goal, plan.plugin, index, found), imported=True)

    def _moved(self, old: str, new: str) -> bool:
        """Whether a resource's new provider is so different from its old one that the resource has to be replaced."""
        (old_urn, old_id), (new_urn, new_id) = urns.split_reference(old), urns.split_reference(new)
        if old_urn == new_urn or not old:
            return bool(old) and old_id != new_id
        was, comes = self._steps.provider(old), self._steps.provider(new)
        return bool(self._steps.plugin(new).diff_config(new_urn, old_id, was.outputs, comes.inputs).replaces)

    def _guarded(self, plan: _Plan) -> _Plan:
        """Refuses to replace what the program protects or imports."""
        if plan.decision.op is Op.REPLACE and plan.old is not None:
            what, keys = urns.label(plan.goal.urn), ", ".join(plan.decision.diff.replaces)
            if plan.goal.protect and plan.old.protect:
                raise EngineError(
                    f"{what} is protected and would be replaced (because of: {keys}); remove protect from the program, "
                    "run up, then change it"
                )
            if plan.goal.import_id:
                raise EngineError(
                    f"{what} would be replaced (because of: {keys}); remove `import` from the program first"
                )
        return plan

    def _first(self, old: Resource, index: int | None) -> tuple[int, ...]:
        left = self._steps.journal.left()
        by_urn = {r.urn: i for i, r in left.items() if not r.delete}
        root = left[index] if index is not None else old

        def would_replace(resource: Resource, inputs: Properties) -> tuple[str, ...]:
            return self._steps.plugin(resource.provider).diff(resource, inputs, ()).replaces

        olds = [r for r in left.values() if not r.pending_replacement]
        going = planner.cascade(olds, root, self._seen, would_replace)
        for resource, _ in going:
            if resource.protect:
                raise EngineError(
                    f"{urns.label(resource.urn)} is protected and would be replaced together with "
                    f"{urns.label(root.urn)}, which it needs; remove protect from it first"
                )
        self._deleted |= {r.urn: keys for r, keys in going}
        return (*[by_urn[r.urn] for r, _ in reversed(going)], by_urn[root.urn])

    # --- doing --------------------------------------------------------------------------------------------------------

    def _carry_out(self, plan: _Plan) -> Resource:
        goal, op, steps = plan.goal, plan.decision.op, self._steps
        new = goal.state(plan.inputs)
        old = plan.old
        with self._gone:
            self._gone.wait_for(lambda: goal.urn not in self._doomed)
        if not self._targets.has(goal.urn):
            return new if old is None else steps.same(old, old, plan.plugin, plan.index)
        if old is None:
            return steps.create(Op.CREATE, new, plan.plugin)
        if op is Op.SAME and plan.imported:
            return steps.keep(old, new, plan.plugin, plan.index)
        if op is Op.SAME:
            return steps.same(old, new, plan.plugin, plan.index)
        if op is Op.UPDATE:
            return steps.update(old, new, plan.plugin, plan.index, plan.decision.diff, goal.ignore_changes)
        self._delete_first(plan)
        gone = bool(plan.first) or old.pending_replacement or old.external or goal.urn in self._deleted
        return steps.replace(old, new, plan.plugin, plan.index, plan.decision.diff, gone=gone)

    def _delete_first(self, plan: _Plan) -> None:
        """Deletes what has to go before a replacement; whoever takes the place of one of them waits for that.

        Two replacements may need the same resource to go: they follow one another, and the second finds it gone.
        """
        if not plan.first:
            return
        *dependents, root = plan.first
        with self._cascading if dependents else contextlib.nullcontext():
            for index in dependents:
                found = self._steps.journal.left().get(index)
                if found is not None and not found.pending_replacement:
                    deletion.delete(self._steps, index, Op.DELETE_REPLACED, replaced=True)
            deletion.delete(self._steps, root, Op.DELETE_REPLACED, replaced=True)

    def _doom(self, plan: _Plan) -> list[str]:
        """The URNs that the plan deletes first beside its own: they are taken until it has ended."""
        left = self._steps.journal.left()
        doomed = [left[index].urn for index in plan.first[:-1]]
        with self._gone:
            self._doomed += doomed
        return doomed

    def _release(self, doomed: Iterable[str]) -> None:
        with self._gone:
            for urn in doomed:
                self._doomed.remove(urn)
            self._gone.notify_all()


def provider_config(values: Mapping[str, str], secret: Iterable[str]) -> dict[str, Properties]:
    """Configuration by package, as the inputs of default providers."""
    hidden = set(secret)
    found: dict[str, Properties] = {}
    for key, value in values.items():
        package, _, name = key.partition(":")
        found.setdefault(package, {})[name] = Secret(value) if key in hidden else value
    return found
