"""An update that would take instances away which autoscaling has added: found in a plan, pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sagestage.errors import SagestageError

CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
Live = Mapping[str, Mapping[str, int]]
"""Endpoint name -> variant name -> instances that run."""


class Step(Protocol):
    """A step of either engine's plan."""

    @property
    def op(self) -> str:
        """Pulumi's name of the operation."""

    @property
    def urn(self) -> str:
        """The resource."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What the program declares."""


class ScaleInError(SagestageError):
    """An update would scale in, and that was not accepted."""

    exit_code = 5


@dataclass(frozen=True)
class Shrink:
    """A variant that runs more instances than the new configuration begins with."""

    endpoint: str
    variant: str
    live: int
    new: int

    def __str__(self) -> str:
        return f"{self.endpoint} {self.variant}: {self.live} instances run, the new configuration has {self.new}"


def configured(steps: Iterable[Step]) -> list[tuple[Step, Step]]:
    """The endpoints that a plan gives a new configuration, each with that configuration's step."""
    every = list(steps)
    configurations = {
        place(step.urn): step
        for step in every
        if step.type == CONFIGURATION and step.op in ("create", "create-replacement")
    }
    return [
        (step, configurations[place(step.urn)])
        for step in every
        if step.type == ENDPOINT and step.op == "update" and place(step.urn) in configurations
    ]


def endpoints(steps: Iterable[Step]) -> dict[str, Mapping[str, int]]:
    """The endpoints that a plan gives a new configuration: physical name -> variant -> instances."""
    return {
        str(endpoint.inputs.get("name")): _counts(configuration.inputs.get("productionVariants"))
        for endpoint, configuration in configured(steps)
    }


def _counts(variants: Any) -> dict[str, int]:
    counted = {}
    for variant in variants if isinstance(variants, list) else []:
        count = variant.get("initialInstanceCount")
        if isinstance(count, int):  # serverless variants have none
            counted[str(variant.get("variantName"))] = count
    return counted


def place(urn: str) -> tuple[str, str]:
    """The component that a resource is in, and its name: configuration and endpoint have both in common."""
    *_, types, name = urn.split("::")
    return types.rpartition("$")[0], name


def shrinks(planned: Live, live: Live) -> list[Shrink]:
    """Every variant that the plan would leave with fewer instances than it has."""
    return [
        Shrink(endpoint, variant, live[endpoint][variant], count)
        for endpoint, variants in planned.items()
        for variant, count in variants.items()
        if live.get(endpoint, {}).get(variant, 0) > count
    ]


def refuse(found: Iterable[Shrink]) -> None:
    """Refuse to scale in.

    Raises:
        ScaleInError: with every variant.
    """
    told = "; ".join(map(str, found))
    if told:
        raise ScaleInError(f"nothing was done: {told}; raise the count, or add --accept-scale-in")
