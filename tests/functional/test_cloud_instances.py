"""One instance, without a cloud around it: what its limits do, with shorter ones than the service's."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.cloud.asking import post
from infra.cloud.errors import InstanceError
from infra.cloud.fleet import VariantFleet
from infra.cloud.groups import Groups
from infra.cloud.instances import Instance, InstanceSpec, Launcher
from infra.cloud.options import Options
from tests.cloud_support.helpers import CONTAINER, alive, archived, running


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = Groups()
    yield made
    made.close()


def spec(folder: Path, timeout_s: float = 30, **environment: str) -> InstanceSpec:
    (folder / "model").mkdir(exist_ok=True)
    return InstanceSpec("main", folder, environment, folder / "log", timeout_s)


def launcher(folder: Path, groups: Groups, timeout_s: float = 60) -> Launcher:
    return Launcher(Options(folder, serve_command=CONTAINER, invocation_timeout_s=timeout_s), groups)


def test_an_instance_that_never_answers_is_given_up_and_ended(tmp_path: Path, groups: Groups) -> None:
    with pytest.raises(InstanceError, match=r"variant main did not pass the ping health check \(no 200 within 0.5 s\)"):
        asyncio.run(launcher(tmp_path, groups).launch(spec(tmp_path, 0.5, NEVER_HEALTHY="1")))


def test_a_command_that_does_not_exist_is_named(tmp_path: Path, groups: Groups) -> None:
    made = Launcher(Options(tmp_path, serve_command=("/nowhere/serve",)), groups)
    with pytest.raises(InstanceError, match="cannot start /nowhere/serve"):
        asyncio.run(made.launch(spec(tmp_path)))


def test_an_answer_that_comes_too_late_is_a_timeout(tmp_path: Path, groups: Groups) -> None:
    async def run() -> tuple[int, bytes]:
        instance = await launcher(tmp_path, groups, timeout_s=0.2).launch(spec(tmp_path, SLOW_S="30"))
        try:
            reply = await post(instance, {}, b"{}")
            return reply.status, reply.body
        finally:
            await instance.stop()

    status, body = asyncio.run(run())
    assert status == 0
    assert b"Your invocation timed out while waiting for a response from container primary" in body


def test_a_retired_instance_answers_what_it_was_asked_before_it_leaves(tmp_path: Path, groups: Groups) -> None:
    async def run() -> tuple[int, Instance]:
        fleet = VariantFleet(launcher(tmp_path, groups), lambda _: spec(tmp_path, SLOW_S="0.3"), most=1)
        await fleet.scale(1)
        instance = fleet.pick()
        assert instance is not None
        asked = asyncio.create_task(post(instance, {}, b"{}"))
        await asyncio.sleep(0)  # one turn of the loop: it is on its way
        assert instance.outstanding == 1
        await fleet.stop(drain=True)
        assert fleet.pick() is None
        return (await asked).status, instance

    status, instance = asyncio.run(run())
    assert status == 200
    assert not alive(instance.pid)


def test_a_fleet_has_no_more_processes_than_one_machine_is_given(tmp_path: Path, groups: Groups) -> None:
    async def run() -> list[int]:
        fleet = VariantFleet(launcher(tmp_path, groups), lambda _: spec(tmp_path), most=2)
        sizes = []
        for count in (1, 5, 0):
            await fleet.scale(count)
            sizes.append(len(fleet.instances))
        await fleet.stop(drain=True)
        return sizes

    assert asyncio.run(run()) == [1, 2, 0]


@pytest.mark.parametrize(("plan", "outcome"), [({"delay_s": 0.3}, "late"), ({"errors": 1.0}, "ModelError")])
def test_a_model_made_for_a_drill_misbehaves_as_its_file_says(
    tmp_path: Path, plan: dict[str, float], outcome: str
) -> None:
    with running(tmp_path) as cloud:
        model = cloud.model(archive=archived({"drill.json": json.dumps(plan).encode()}))
        name = cloud.endpoint(cloud.config([{"ModelName": model}]))
        begun = time.monotonic()
        try:
            cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body=b"{}")
            seen = "late" if time.monotonic() - begun >= plan["delay_s"] else "in time"
        except ClientError as error:
            seen = error.response["Error"]["Code"]
        assert seen == outcome
