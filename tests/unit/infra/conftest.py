"""Runs programs on Pulumi's own mocks, and keeps what they registered."""

import asyncio
import contextvars
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_pulumi_func

with warnings.catch_warnings():
    # pulumi-aws warns of its own old S3 names when they are loaded, and warnings are errors here: load them now
    warnings.simplefilter("ignore", DeprecationWarning)
    _ = aws.s3.Bucket

ROOT = Path(__file__).resolve().parents[3]
DIGESTS = {"champion": "c" * 64, "challenger": "d" * 64}
CONFIG = {
    "sagestage:program": "demand",
    "sagestage:image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/sagestage-inference:1.0",
    **{f"sagestage:{name}": f"s3://artifacts/models/{name}/{sha}/model.tar.gz" for name, sha in DIGESTS.items()},
}
ANSWERS = {
    "aws:index/getPartition:getPartition": {"partition": "aws"},
    "aws:index/getRegion:getRegion": {"region": "us-east-1"},
    "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": "123456789012"},
}
Registered = dict[str, dict[str, Any]]


class _NoMocks(mocks.Mocks):
    """The monitor below answers by itself."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        raise NotImplementedError


class Monitor(mocks.MockMonitor):
    """Keeps every registration, as the engine would see it, by its URN."""

    def __init__(self, project: str, stack: str) -> None:
        super().__init__(_NoMocks())
        self.prefix = f"urn:pulumi:{stack}::{project}::"
        self.stack = f"{self.prefix}pulumi:pulumi:Stack::{project}-{stack}"
        self.registered: Registered = {}
        self.outputs: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> resource_pb2.RegisterResourceResponse:  # noqa: N802 - gRPC's name
        parents = "" if request.parent in {"", self.stack} else request.parent.split("::")[2]
        urn = f"{self.prefix}{parents}{'$' if parents else ''}{request.type}::{request.name}"
        inputs = json_format.MessageToDict(request.object)
        if request.type != "pulumi:pulumi:Stack":
            assert urn not in self.registered, f"registered twice: {urn}"
            self.registered[urn] = {
                "type": request.type,
                "inputs": inputs,
                "parent": request.parent,
                "dependencies": sorted(request.dependencies),
                "protect": request.protect,
                "retainOnDelete": request.retainOnDelete,
                "replaceOnChanges": list(request.replaceOnChanges),
            }
        name = f"{request.name}-0a1b2c3"
        state = {"arn": f"arn:{request.type}:{name}", "name": name, **inputs}
        answer = struct_pb2.Struct()
        json_format.ParseDict(state if request.custom else {}, answer)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=name if request.custom else "", object=answer)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        assert request.urn not in self.outputs, f"outputs registered twice: {request.urn}"
        self.outputs[request.urn] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)

    def Invoke(self, request: Any) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802 - gRPC's name
        answer = struct_pb2.Struct()
        json_format.ParseDict(ANSWERS[request.tok], answer)
        return resource_pb2.ResourceInvokeResponse(**{"return": answer})


def run(program: Callable[[], object], stack: str, config: dict[str, str]) -> Monitor:
    """The program, run to its end in a loop and a context of its own."""
    monitor = Monitor("sagestage", stack)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def whole() -> None:
        mocks.set_mocks(_NoMocks(), project="sagestage", stack=stack, preview=False, monitor=monitor)
        pulumi.runtime.set_all_config(config)
        loop.run_until_complete(run_pulumi_func(lambda: program() and None))

    try:
        contextvars.copy_context().run(whole)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        asyncio.set_event_loop(None)
        pulumi.runtime.set_all_config({})
    return monitor


Deploy = Callable[..., Monitor]


@pytest.fixture
def deploy() -> Deploy:
    """`deploy(program, stack="local", **config)`: the monitor that heard the program."""

    def start(program: Callable[[], object], stack: str = "local", /, **config: str) -> Monitor:
        return run(program, stack, {**CONFIG, **{f"sagestage:{key}": value for key, value in config.items()}})

    return start


@pytest.fixture
def demand() -> Callable[[], object]:
    """The program of the project's stacks."""
    return lambda: runpy.run_path(str(ROOT / "stacks" / "__main__.py"), run_name="__main__")


@pytest.fixture
def nightly(deploy: Deploy) -> Callable[..., Monitor]:
    """`nightly(stack="local")`: the second program of the project's stacks."""

    def program() -> object:
        return runpy.run_path(str(ROOT / "stacks" / "__main__.py"), run_name="__main__")

    return lambda stack="local": deploy(program, stack, program="nightly")
