"""The records of hosting: endpoint configurations, and endpoints with their fleets and variants."""

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from infra.cloud.capture import Capture, now
from infra.cloud.fleet import VariantFleet
from infra.cloud.instances import Instance
from infra.cloud.moto_app import ACCOUNT, Container
from infra.cloud.serverless import Warmth
from infra.cloud.sessions import Sessions

IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


def float32(value: float) -> float:
    """A weight as the service keeps it: 0.9 reads back as 0.8999999761581421."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def arn(region: str, kind: str, name: str) -> str:
    """The ARN of a SageMaker resource; names are folded to lower case in it, as the service does."""
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name.lower()}"


@dataclass
class Config:
    """An endpoint configuration: its request, unchanged but for what the service itself changes."""

    name: str
    region: str
    request: dict[str, Any]
    tags: dict[str, str]
    created: datetime = field(default_factory=now)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return arn(self.region, "endpoint-config", self.name)


class OnDemand(Protocol):
    """Models that an instance loads when it is asked for them."""

    async def path(self, endpoint: "Endpoint", variant: "Variant", instance: Instance, target: str) -> str:
        """Where an instance answers for a model that it has by now."""

    def forget(self, instance: Instance, target: str) -> None:
        """An instance has a model no more."""


@dataclass
class Variant:
    """A production variant of a live endpoint: what it was told to be, and the processes that it is.

    A serverless one (`serverless` is what it was declared to be) has a process while `warmth` says so; a multi-model
    one loads `models` on demand.
    """

    name: str
    weight: float
    count: int
    container: Container
    fleet: VariantFleet
    serverless: Mapping[str, Any] | None = None
    warmth: Warmth | None = None
    models: "OnDemand | None" = None
    sessions: Sessions = field(default_factory=Sessions)


@dataclass
class Fleet:
    """Everything that one configuration runs; `updated`: it came by an update, and is counted under its name, too."""

    config: Config
    variants: dict[str, Variant]
    folder: Path
    capture_config: Mapping[str, Any] | None
    capture: Capture | None
    started: datetime = field(default_factory=now)
    shadows: dict[str, Variant] = field(default_factory=dict)
    updated: bool = False

    @property
    def all_variants(self) -> list[Variant]:
        """Those that answer, and those that only get copies."""
        return [*self.variants.values(), *self.shadows.values()]


@dataclass
class Pending:
    """The fleet of a rollout under way, and its share of the traffic, 0 to 1."""

    fleet: Fleet
    share: float = 0.0
    stage: str = "Creating"
    began: datetime = field(default_factory=now)
    changed: datetime = field(default_factory=now)

    def shift(self, share: float) -> None:
        """Give it another share: VariantStatus has Baking for what takes traffic and is watched."""
        self.share, self.changed = share, now()
        self.stage = "Baking" if share else "Deleting"


@dataclass
class Endpoint:
    """An endpoint. `fleet` is what answers, None until one was healthy; `pending` takes a share during a rollout."""

    name: str
    region: str
    config_name: str
    tags: dict[str, str]
    status: str = "Creating"
    reason: str | None = None
    fleet: Fleet | None = None
    pending: Pending | None = None
    deployment: Mapping[str, Any] | None = None
    task: asyncio.Task[None] | None = None
    changed: Callable[[], None] = field(default=lambda: None)
    created: datetime = field(default_factory=now)
    modified: datetime = field(default_factory=now)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return arn(self.region, "endpoint", self.name)

    def fleet_for(self, roll: float) -> Fleet | None:
        """The fleet that a request goes to; `roll` is a uniform draw from [0, 1)."""
        pending = self.pending
        return pending.fleet if pending is not None and roll < pending.share else self.fleet

    def become(self, status: str, reason: str | None = None) -> None:
        """Change the status, and why."""
        self.status, self.reason, self.modified = status, reason, now()
        self.changed()
