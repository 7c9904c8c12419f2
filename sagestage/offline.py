"""What a stack's program declares, found out by running it: no cloud, no credentials, nothing made."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi.provider.experimental import provider as p

from infra.engine import Engine
from infra.provider import AwsProvider
from infra.provider.planning import DEFAULTS
from infra.provider.values import UNKNOWN, Properties, plain_map, property_map
from sagestage.project import Project

_NOWHERE = json.dumps([{"sts": "http://127.0.0.1:9"}])  # the discard port: nothing is ever sent
_ACCOUNT = "123456789012"


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
    with tempfile.TemporaryDirectory(prefix="sagestage-offline-") as home:
        Engine(root=project.root, stack=stack, providers={"aws": lambda: _Offline(found)}, home=Path(home)).preview()
    return sorted(found, key=lambda one: (one.type, one.name))


class _Offline(AwsProvider):
    """The provider with nobody to talk to: it checks inputs as ever, and remembers them."""

    def __init__(self, found: list[Declared]) -> None:
        super().__init__()
        self._found = found
        self._region, self._account = "us-east-1", _ACCOUNT

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        """A stack for AWS has no endpoints here, and needs none."""
        return p.CheckResponse(inputs=request.new_inputs, failures=[])

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """Take region and account; keys and endpoints are never used."""
        given = plain_map(request.args)
        self._region = str(given.get("region") or self._region)
        accounts = given.get("allowedAccountIds")
        listed = json.loads(accounts) if isinstance(accounts, str) else accounts
        self._account = str(listed[0]) if isinstance(listed, list) and listed else self._account
        settings: Properties = {"region": self._region, "accessKey": "none", "secretKey": "none", "endpoints": _NOWHERE}
        return await super().configure(
            p.ConfigureRequest(request.variables, property_map(settings), accept_secrets=True, accept_resources=True)
        )

    async def invoke(self, request: p.InvokeRequest) -> p.InvokeResponse:
        """Answer where the stack lives; all else is worked out without AWS."""
        known: dict[str, Properties] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": self._account, "id": self._account},
            "aws:index/getRegion:getRegion": {"region": self._region, "name": self._region, "id": self._region},
        }
        if request.tok in known:
            return p.InvokeResponse(return_value=property_map(known[request.tok], request.args))
        return await super().invoke(request)

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
