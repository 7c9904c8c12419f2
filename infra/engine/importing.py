"""Import: resources that exist are entered into the state, without a program that declares them yet.

Mirrors the real engine's (pkg/resource/deploy/import.go). One thing differs: a default provider of the package that the
state has already is used, whatever its version; the real engine would make another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from infra.engine import urns
from infra.engine.deployment import SEED_BYTES, Deployment
from infra.engine.errors import EngineError, ProviderError
from infra.engine.planner import Goal, Op
from infra.engine.progress import Skipped
from infra.engine.state import Resource
from infra.engine.steps import Steps
from infra.engine.values import Properties


@dataclass(frozen=True, slots=True)
class Import:
    """One resource to take over: its type token, the name that it gets, and the id that its provider knows it by.

    `parent` and `provider` are URNs; the stack and a default provider when they are empty.
    """

    type: str
    name: str
    id: str
    parent: str = ""
    provider: str = ""
    protect: bool = True


def take_in(steps: Steps, deployment: Deployment, imports: Iterable[Import], parallel: int) -> None:
    """Enters every resource that the state does not have yet.

    Raises:
        EngineError: two have one URN, or a parent or a provider is not in the state.
    """
    known: dict[str, Resource] = {}
    for index, resource in steps.journal.left().items():
        if not resource.delete:
            known[resource.urn] = resource
            with steps.told(steps.step(Op.SAME, resource.urn, resource.type)):
                steps.journal.settle(resource, index)  # what comes stands after it in the state
    root = next((r for r in known.values() if r.type == urns.STACK_TYPE), None) or _root(steps, deployment)
    goals: dict[str, Goal] = {}
    for each in imports:
        goal = _goal(steps, deployment, known, each, root.urn)
        if goal.urn in goals:
            raise EngineError(f"{urns.label(goal.urn)} is to be imported twice: give one of them another name")
        goals[goal.urn] = goal
    with ThreadPoolExecutor(parallel, thread_name_prefix="import") as pool:
        for _ in pool.map(lambda goal: _one(steps, goal, known.get(goal.urn)), goals.values()):
            pass


def _root(steps: Steps, deployment: Deployment) -> Resource:
    name = f"{deployment.project}-{deployment.stack}"
    urn = urns.make(deployment.stack, deployment.project, "", urns.STACK_TYPE, name)
    return steps.create(Op.CREATE, Resource(urn, urns.STACK_TYPE, custom=False), None)


def _goal(steps: Steps, deployment: Deployment, known: dict[str, Resource], wanted: Import, root: str) -> Goal:
    if wanted.type.count(":") != 2:
        raise EngineError(f"type {wanted.type!r}: write it as package:module:Type, like aws:sagemaker/model:Model")
    for what, urn in (("parent", wanted.parent), ("provider", wanted.provider)):
        if urn and urn not in known:
            raise EngineError(f"{what} {urn}: the state has no such resource; `sagestage state export` shows its URNs")
    package = urns.package_of(wanted.type)
    provider = known.get(wanted.provider) or next(
        (r for r in known.values() if urns.is_default_provider(r.urn) and urns.package_of(r.type) == package), None
    )
    return Goal(
        urn=urns.make(deployment.stack, deployment.project, wanted.parent or root, wanted.type, wanted.name),
        type=wanted.type,
        custom=True,
        inputs={},
        parent=wanted.parent or root,
        provider=steps.reference(provider) if provider else deployment.default_provider(package, ""),
        protect=wanted.protect,
        import_id=wanted.id,
    )


def _one(steps: Steps, goal: Goal, old: Resource | None) -> None:
    if old is not None and goal.import_id == (old.import_id or old.id):
        return  # it was imported before
    inputs: Properties = {}
    step = steps.step(Op.IMPORT, goal.urn, goal.type, new=inputs)  # they are known when it is done
    try:
        plugin = steps.plugin(goal.provider)
        with steps.told(step):
            if old is not None:
                raise ProviderError(f"it is in the state already, as {old.id!r}: choose another name")  # noqa: TRY301 - told as the step
            found = steps.found(replace(goal, import_id=""), goal.import_id, plugin)
            inputs |= plugin.check(goal.urn, found.inputs, found.inputs, os.urandom(SEED_BYTES))
            steps.journal.settle(replace(found, inputs=inputs))
            steps.save()
    except Skipped:
        return  # told already
    except (EngineError, ProviderError) as error:
        steps.refuse(goal.urn, goal.type, str(error), Op.IMPORT)
