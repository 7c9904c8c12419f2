"""A scaled variant that gets another instance type, or goes: its scaling has to be taken away before the update.

SageMaker refuses to update the endpoint while the variant is registered with Application Auto Scaling. The scalable
target depends on the endpoint, so an ordinary `up` comes to it too late: what has to go first is found here, in a plan
and the state before it; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sagestage.errors import SagestageError
from sagestage.scaling_in import CONFIGURATION, Step, configured, place

TARGET = "aws:appautoscaling/target:Target"
Resources = Sequence[Mapping[str, Any]]
"""The resources of a checkpoint."""


@dataclass(frozen=True)
class Rescaled:
    """A variant whose scaling goes before the update and comes again after it, with every resource that goes.

    `new` is None where the variant itself goes.
    """

    endpoint: str
    variant: str
    old: str
    new: str | None
    urns: tuple[str, ...]

    def __str__(self) -> str:
        what = "is removed" if self.new is None else f"goes from {self.old} to {self.new}"
        after = "" if self.new is None else ", and made again after it"
        return f"{self.endpoint} {self.variant} {what}: its scaling is deleted before the update{after}"


def rescaled(steps: Iterable[Step], resources: Resources) -> list[Rescaled]:
    """The scaled variants that a plan gives another instance type or takes away, by the stack's state before it."""
    deployed = {place(each["urn"]): each for each in resources if each["type"] == CONFIGURATION and not _gone(each)}
    found = []
    for endpoint, configuration in configured(steps):
        before = deployed.get(place(configuration.urn))
        name = str(endpoint.inputs.get("name"))
        now, then = _types(configuration.inputs), _types((before or {}).get("inputs") or {})
        for variant, old in then.items():
            urns = tuple(_scaling(f"endpoint/{name}/variant/{variant}", resources))
            if urns and now.get(variant) != old:
                found.append(Rescaled(name, variant, old, now.get(variant), urns))
    return found


def urns_of(found: Iterable[Rescaled]) -> tuple[str, ...]:
    """All that goes before the update, once each."""
    return tuple(dict.fromkeys(urn for each in found for urn in each.urns))


def refuse_targets(found: Sequence[Rescaled], targets: Sequence[str]) -> None:
    """Refuse to do it where only some resources are to be touched.

    Raises:
        SagestageError: with the variants.
    """
    if found and targets:
        raise SagestageError(f"{'; '.join(map(str, found))}: --target cannot do that, run `up` without it")


def _types(configuration: Mapping[str, Any]) -> dict[str, str]:
    """The instance type of each variant that has one."""
    variants = configuration.get("productionVariants")
    return {
        str(each.get("variantName")): each["instanceType"]
        for each in (variants if isinstance(variants, list) else [])
        if isinstance(each, Mapping) and isinstance(each.get("instanceType"), str)
    }


def _scaling(resource_id: str, resources: Resources) -> Iterator[str]:
    """The scalable targets of a variant, and all that needs them, in the state's order."""
    going: set[str] = set()
    for each in resources:
        if _gone(each):
            continue
        own = each["type"] == TARGET and (each.get("inputs") or {}).get("resourceId") == resource_id
        if own or going.intersection(_needs(each)):
            going.add(each["urn"])
            yield each["urn"]


def _gone(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("delete") or resource.get("external"))


def _needs(resource: Mapping[str, Any]) -> Iterator[str]:
    yield from resource.get("dependencies") or ()
    for urns in (resource.get("propertyDependencies") or {}).values():
        yield from urns or ()
    yield str(resource.get("parent", ""))
