"""A small Pulumi provider whose cloud is a folder: one JSON file a resource, and a log of every call.

It serves both engines: in process (`ToyProvider(folder)`), and as the plugin pulumi-resource-toy of the real CLI
(`python -m tests.engine_support.toy`, folder from TOY_CLOUD). Type `toy:index:Thing`:

- inputs: `name` (made up when absent), `kind` (a change replaces), `value`, `size`, `tags`, `refs` (changes update),
  `password` (a secret comes back as one), `fail` (the operation to fail: create, update or delete).
- outputs: the inputs, `arn` (from the name), `generation` (0, then 1 more for each update) and `token`, a secret.
- a name given by hand makes a replacement delete first, as the AWS provider's bridge has it.

`toy:index:describe` is an invoke: {"name"} -> {"name", "exists"}.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import Computed, PropertyValue

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
TYPES = ("toy:index:Thing", "toy:index:Part")
REPLACING = ("kind", "name")
COMPUTED = ("arn", "generation", "token")


class ToyError(Exception):
    """What the toy cloud answers when asked to fail."""


class Killed(BaseException):
    """Stands for the end of the process: no handler of the engine may turn it into something else."""


class ToyProvider(p.Provider):
    """See the module. `before` and `after` (tests) are called around each change with (operation, urn)."""

    def __init__(
        self,
        cloud: Path,
        before: Callable[[str, str], None] = lambda *_: None,
        after: Callable[[str, str], None] = lambda *_: None,
        *,
        finds: bool = True,
    ) -> None:
        self.cloud, self._before, self._after, self._finds = cloud, before, after, finds
        self._lock = threading.Lock()

    async def get_schema(self, request: p.GetSchemaRequest) -> p.GetSchemaResponse:
        del request
        return p.GetSchemaResponse(json.dumps({"name": "toy", "version": "1.0.0"}))

    async def check_config(self, request: p.CheckRequest) -> p.CheckResponse:
        self._log("check_config", request.urn, news=request.new_inputs)
        return p.CheckResponse(request.new_inputs)

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        self._log("configure", "", variables=request.variables, args=request.args)
        return p.ConfigureResponse(accept_secrets=True, supports_preview=True, accept_resources=False)

    async def diff_config(self, request: p.DiffRequest) -> p.DiffResponse:
        replaces = [k for k in ("account",) if request.old_state.get(k) != request.new_inputs.get(k)]
        # The SDK's server turns a True here into "no difference" (its DiffConfig): leave it to the engine to look.
        return p.DiffResponse(changes=None, replaces=replaces)

    async def invoke(self, request: p.InvokeRequest) -> p.InvokeResponse:
        self._log("invoke", request.tok, args=request.args)
        if request.tok != "toy:index:describe":
            raise ToyError(f"unknown function {request.tok}")
        name = request.args["name"]
        return p.InvokeResponse({"name": name, "exists": PropertyValue(self._file(str(name.value)).exists())})

    async def check(self, request: p.CheckRequest) -> p.CheckResponse:
        if request.type.split("$")[-1] not in TYPES:
            raise ToyError(f"unknown resource type {request.type}")
        self._log("check", request.urn, olds=request.old_inputs, news=request.new_inputs)
        inputs = dict(request.new_inputs)
        failures = []
        if isinstance(inputs.get("size", PropertyValue(0.0)).value, str) and not _unknown(inputs["size"]):
            failures.append(p.CheckFailure("size", f"must be a number, got {inputs['size'].value!r}"))
        if "name" not in inputs:
            old = request.old_inputs
            made = f"{request.name}-{request.random_seed.hex()[:7]}"
            inputs["name"] = old["name"] if "made" in old else PropertyValue(made)
            inputs["made"] = PropertyValue(value=True)
        return p.CheckResponse(inputs, failures)

    async def diff(self, request: p.DiffRequest) -> p.DiffResponse:
        self._log("diff", request.urn, olds=request.old_state, news=request.new_inputs, ignore=request.ignore_changes)
        olds = {k: v for k, v in request.old_state.items() if k not in COMPUTED}
        news = request.new_inputs
        changed = sorted(k for k in olds.keys() | news.keys() if _plain(olds.get(k)) != _plain(news.get(k)))
        replaces = [k for k in changed if k in REPLACING]
        detailed = {}
        for key in changed:
            kind = "ADD" if key not in olds else "DELETE" if key not in news else "UPDATE"
            detailed[key] = p.PropertyDiff(
                p.PropertyDiffKind[f"{kind}_REPLACE" if key in replaces else kind], input_diff=True
            )
        return p.DiffResponse(
            changes=bool(changed),
            replaces=replaces,
            diffs=changed,
            detailed_diff=detailed,
            delete_before_replace=bool(replaces) and "made" not in news and "name" in news,
        )

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        self._log("create", request.urn, news=request.properties, preview=request.preview, timeout=request.timeout)
        if request.preview:
            return p.CreateResponse("", dict(request.properties))
        self._before("create", request.urn)
        self._fail("create", request.properties)
        name = str(request.properties["name"].value)
        if self._file(name).exists():
            raise ToyError(f"{name} already exists")
        outputs = self._outputs(request.properties, 0)
        self._write(name, outputs)
        self._after("create", request.urn)
        return p.CreateResponse(name, outputs)

    async def read(self, request: p.ReadRequest) -> p.ReadResponse:
        self._log("read", request.urn, id=request.resource_id, inputs=request.inputs)
        name = request.resource_id
        if not name and self._finds and "name" in request.inputs:  # found by its inputs: see Engine
            name = str(request.inputs["name"].value)
        if not name or not self._file(name).exists():
            return p.ReadResponse("", {}, {})
        outputs = PropertyValue.unmarshal_map(_struct(json.loads(self._file(name).read_text())))
        return p.ReadResponse(name, outputs, {k: v for k, v in outputs.items() if k not in COMPUTED})

    async def update(self, request: p.UpdateRequest) -> p.UpdateResponse:
        self._log("update", request.urn, olds=request.olds, news=request.news, preview=request.preview)
        if request.preview:
            return p.UpdateResponse(dict(request.news))
        self._before("update", request.urn)
        self._fail("update", request.news)
        outputs = self._outputs(request.news, int(request.olds["generation"].value) + 1)  # type: ignore[arg-type]
        self._write(request.resource_id, outputs)
        self._after("update", request.urn)
        return p.UpdateResponse(outputs)

    async def delete(self, request: p.DeleteRequest) -> None:
        self._log("delete", request.urn, id=request.resource_id)
        self._before("delete", request.urn)
        self._fail("delete", request.properties)
        self._file(request.resource_id).unlink(missing_ok=True)
        self._after("delete", request.urn)

    def _outputs(self, inputs: dict[str, PropertyValue], generation: int) -> dict[str, PropertyValue]:
        name = str(inputs["name"].value)
        return {
            **inputs,
            "arn": PropertyValue(f"arn:toy:{name}"),
            "generation": PropertyValue(float(generation)),
            "token": PropertyValue(f"token-of-{name}", is_secret=True),
        }

    def _fail(self, operation: str, inputs: dict[str, PropertyValue]) -> None:
        if "fail" in inputs and inputs["fail"].value == operation:
            raise ToyError(f"told to fail this {operation}")

    def _file(self, name: str) -> Path:
        return self.cloud / f"{name}.json"

    def _write(self, name: str, outputs: dict[str, PropertyValue]) -> None:
        from google.protobuf import json_format  # noqa: PLC0415 - only where something is written

        self._file(name).write_text(json_format.MessageToJson(PropertyValue.marshal_map(outputs)))

    def _log(self, method: str, urn: str, **values: Any) -> None:
        line = {"method": method, "urn": urn, **{k: _plain(v) for k, v in values.items()}}
        with self._lock, (self.cloud / "calls.log").open("a") as out:
            out.write(json.dumps(line, sort_keys=True) + "\n")


def _struct(value: dict[str, Any]) -> Any:
    from google.protobuf import json_format, struct_pb2  # noqa: PLC0415 - only where something is read

    return json_format.ParseDict(value, struct_pb2.Struct())


def _unknown(value: PropertyValue) -> bool:
    return value.value == UNKNOWN or isinstance(value.value, Computed)


def _plain(value: Any) -> Any:
    """A property as plain JSON; a secret is wrapped in {"secret": …}."""
    if isinstance(value, PropertyValue):
        inner = _plain(value.value)
        return {"secret": inner} if value.is_secret else inner
    if isinstance(value, dict) or hasattr(value, "items"):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Computed):
        return UNKNOWN
    return value if isinstance(value, (str, float, int, bool, type(None))) else str(value)


if __name__ == "__main__":
    from pulumi.provider.experimental.server import main

    main(sys.argv[1:], "1.0.0", ToyProvider(Path(os.environ["TOY_CLOUD"])))
