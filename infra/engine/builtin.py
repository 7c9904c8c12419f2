"""The package `pulumi`, which the engine itself provides: references to other stacks.

Mirrors the built-in provider of the real engine (pkg/resource/deploy/builtins.go). A reference names a stack as file
backends do: `stack`, of the same project, or `organization/project/stack`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue

from infra.engine import urns
from infra.engine.errors import EngineError
from infra.engine.secrets import Crypter
from infra.engine.store import Store
from infra.engine.values import Accepts, Properties, has_secret, to_properties

PACKAGE: Final = "pulumi"
ORGANIZATION: Final = "organization"  # what file backends of the real CLI say
REFERENCE: Final = "pulumi:pulumi:StackReference"
ReadStack = Callable[[str], Properties]


def stack_reader(home: Path, project: str, phrase: Callable[[], str]) -> ReadStack:
    """A function from a stack's name to its outputs, from the states that are kept in `home`."""

    def read(name: str) -> Properties:
        match name.split("/"):
            case [stack]:
                of = project
            case [organization, stack] if organization == ORGANIZATION:
                of = project
            case [organization, of, stack] if organization == ORGANIZATION:
                pass
            case _:
                raise EngineError(
                    f"stack reference {name!r}: write the stack's name alone, or '{ORGANIZATION}/<project>/<stack>'"
                )
        path = home / "stacks" / of / f"{stack}.json"
        if not path.exists():
            raise EngineError(
                f"stack reference {name!r}: stack {stack!r} of project {of!r} has no state here "
                f"({path} does not exist); deploy it on the embedded engine first"
            )
        store = Store(path)
        return dict(store.load(Crypter(phrase, store.salt())).outputs())

    return read


class BuiltIn(p.Provider):
    """The provider of the package."""

    def __init__(self, read_stack: ReadStack) -> None:
        self._read_stack = read_stack

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        """There is nothing to configure."""
        return p.CheckResponse(request.new_inputs)

    async def diff_config(self, request: p.DiffRequest) -> p.DiffResponse:
        """There is nothing to configure."""
        del request
        return p.DiffResponse(changes=False)

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """There is nothing to configure."""
        del request
        return p.ConfigureResponse(accept_secrets=True, supports_preview=True, accept_resources=True)

    async def read(self, request: p.ReadRequest) -> p.ReadResponse:
        """A stack's outputs as they are now; the names of the secret ones beside them."""
        if urns.type_of(request.urn) != REFERENCE:
            raise EngineError(f"unrecognized resource type {request.type!r}; the package {PACKAGE} has {REFERENCE}")
        name = (request.properties or request.inputs).get("name") or request.inputs.get("name")
        if name is None:
            raise EngineError("a stack reference cannot be imported")
        outputs = self._read_stack(str(name.value))
        found: Properties = {
            "name": str(name.value),
            "outputs": outputs,
            "secretOutputNames": sorted(key for key, value in outputs.items() if has_secret(value)),
        }
        return p.ReadResponse(request.resource_id, to_properties(found, Accepts()), request.inputs)

    async def invoke(self, request: p.InvokeRequest) -> p.InvokeResponse:
        """The older way to read a stack's outputs."""
        if request.tok != "pulumi:pulumi:readStackOutputs":
            raise EngineError(f"unknown function {request.tok}")
        outputs = self._read_stack(str(request.args["name"].value))
        return p.InvokeResponse({"outputs": PropertyValue(to_properties(outputs, Accepts()))})
