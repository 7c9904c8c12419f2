"""A provider with nobody to talk to, and what a stack's program declares when it is run with it: nothing is made."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi.provider.experimental import provider as p

from infra.engine import Engine, Options
from infra.provider import AwsProvider
from infra.provider.planning import DEFAULTS
from infra.provider.values import UNKNOWN, Properties, plain_map, property_map
from sagestage import engines, stackfile
from sagestage.project import Project


@dataclass(frozen=True)
class Declared:
    """A resource of AWS as the program declares it; what only AWS can tell is missing from its inputs."""

    type: str
    name: str
    inputs: dict[str, Any]


def declared(project: Project, stack: str) -> list[Declared]:
    """Every AWS resource of a stack, in the order of their types and names.

    Raises:
        EngineError: the program, or the stack's configuration, is refused.
    """
    found: list[Declared] = []
    config = stackfile.read(project.root, stack)
    foreign = not stackfile.is_embedded(config)
    with tempfile.TemporaryDirectory(prefix="sagestage-offline-") as home:
        Engine(
            root=project.root,
            stack=stack,
            providers={"aws": lambda: _Recording(found)},
            home=Path(home),
            options=Options((), engines.overrides(config, None), placeholders=True) if foreign else Options(),
        ).preview()
    return sorted(found, key=lambda one: (one.type, one.name))


class OfflineProvider(AwsProvider):
    """The provider for previews where no cloud runs: it knows the account that the stack is for, and asks nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._account = "123456789012"

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """Take the account from `aws:allowedAccountIds`, where the stack has one."""
        allowed = plain_map(request.args).get("allowedAccountIds")
        accounts = json.loads(allowed) if isinstance(allowed, str) else allowed
        if isinstance(accounts, list) and accounts:
            self._account = str(accounts[0])
        return await super().configure(request)

    async def invoke(self, request: p.InvokeRequest) -> p.InvokeResponse:
        """Answer who we are; all other functions are worked out without AWS."""
        if request.tok != "aws:index/getCallerIdentity:getCallerIdentity":
            return await super().invoke(request)
        arn = f"arn:aws:iam::{self._account}:root"
        told: Properties = {"accountId": self._account, "id": self._account, "arn": arn, "userId": self._account}
        return p.InvokeResponse(return_value=property_map(told, request.args))


class _Recording(OfflineProvider):
    """Remembers the inputs that it checks."""

    def __init__(self, found: list[Declared]) -> None:
        super().__init__()
        self._found = found

    async def check(self, request: p.CheckRequest) -> p.CheckResponse:
        """Check, and remember what was declared."""
        answer = await super().check(request)
        if answer.inputs is not None:
            inputs = {
                name: value
                for name, value in plain_map(answer.inputs).items()
                if value is not UNKNOWN and name != DEFAULTS
            }
            self._found.append(Declared(request.urn.split("::")[-2].rsplit("$", 1)[-1], request.name, inputs))
        return answer
