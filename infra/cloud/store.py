"""What hosting remembers: endpoint configurations and endpoints, by region and name."""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.cloud.capture import Capture, now
from infra.cloud.errors import AwsError, invalid
from infra.cloud.fleet import VariantFleet
from infra.cloud.moto_app import ACCOUNT

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


@dataclass
class Variant:
    """A production variant of a live endpoint: what it was told to be, and the processes that it is.

    A serverless one is one process that stays warm; `serverless` is what it was declared to be.
    """

    name: str
    weight: float
    count: int
    image: str
    fleet: VariantFleet
    serverless: Mapping[str, Any] | None = None


@dataclass
class Fleet:
    """Everything that one configuration runs."""

    config: Config
    variants: dict[str, Variant]
    folder: Path
    capture_config: Mapping[str, Any] | None
    capture: Capture | None
    started: datetime = field(default_factory=now)
    shadows: dict[str, Variant] = field(default_factory=dict)

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


class Store:
    """Every record, with the service's words for what is missing or there already."""

    def __init__(self) -> None:
        self.configs: dict[tuple[str, str], Config] = {}
        self.endpoints: dict[tuple[str, str], Endpoint] = {}

    def config(self, region: str, name: str) -> Config:
        """A configuration, or ValidationException."""
        found = self.configs.get((region, name))
        if found is None:
            raise invalid(f'Could not find endpoint configuration "{arn(region, "endpoint-config", name)}".')
        return found

    def endpoint(self, region: str, name: str) -> Endpoint:
        """An endpoint, or ValidationException."""
        found = self.endpoints.get((region, name))
        if found is None:
            raise invalid(f'Could not find endpoint "{arn(region, "endpoint", name)}".')
        return found

    def settled(self, region: str, name: str) -> Endpoint:
        """An endpoint that nothing is being done to, or ValidationException."""
        found = self.endpoint(region, name)
        if found.status in IN_PROGRESS:
            raise invalid(f'Cannot update in-progress endpoint "{found.arn}".')
        return found

    def tagged(self, region: str, resource: str) -> dict[str, str] | None:
        """The tags of an endpoint or configuration by its ARN; None for an ARN of another kind.

        Raises:
            AwsError: the ARN is of a kind that hosting owns, but nothing has it.
        """
        kind, _, name = resource.rpartition(":")[2].partition("/")
        if kind not in ("endpoint", "endpoint-config"):
            return None
        records: list[Config | Endpoint] = [*(self.endpoints if kind == "endpoint" else self.configs).values()]
        for found in records:
            if found.arn == resource.replace(f"{kind}/{name}", f"{kind}/{name.lower()}") and found.region == region:
                return found.tags
        raise AwsError("ResourceNotFound", f"Could not find {kind} {resource}")
