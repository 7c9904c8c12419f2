"""The application alone, with a protocol that is not granian's: health, deadlines, stopping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference.app import REASONS, App
from inference.board import State
from inference.contract.network import Single
from inference.model import Model, load
from inference.settings import Settings
from tests.inference_support import artifacts


class Headers(dict[str, str]):
    """As granian's: only `get` is used."""


class Scope:
    """A request's first line and headers."""

    def __init__(self, method: str, path: str, **headers: str) -> None:
        self.method, self.path = method, path
        self.headers = Headers(headers)


class Proto:
    """A request's body, and where its answer goes."""

    def __init__(self, body: bytes = b"") -> None:
        self.body = body
        self.arrival: asyncio.Event | None = None
        self.status = 0
        self.answer: dict[str, Any] = {}

    async def __call__(self) -> bytes:
        if self.arrival is not None:
            await self.arrival.wait()
        return self.body

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    def response_bytes(self, status: int, _headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.answer = status, orjson.loads(body)


class Switch:
    """A predictor that can be broken, mended, and held."""

    name = "switch"
    lanes = 1

    def __init__(self, model: Model, inline_rows: int) -> None:
        self.inline_rows = inline_rows
        self.whole = model.predictor
        self.broken = False
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, features: Single) -> Single:
        self.may_go.wait(30)
        if self.broken:
            raise RuntimeError("a wire came loose")
        return self.whole(features)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("app") / "model.tar.gz"
    artifacts.pack(artifacts.make(artifacts.plain_transform(2)), path)
    return load(Path(path), Settings(predictor="numpy"))


def app_of(model: Model, *, inline_rows: int = 1000, **settings: Any) -> tuple[App, Switch]:
    switch = Switch(model, inline_rows)
    return App(Model(model.version, model.artifact, model.reader, switch), Settings(**settings)), switch


async def ping(app: App) -> Proto:
    proto = Proto()
    await asyncio.create_task(app.__rsgi__(Scope("GET", "/ping"), proto))  # type: ignore[arg-type]  # a stand-in
    return proto


def invoke(app: App, proto: Proto) -> asyncio.Task[None]:
    headers = {"content-type": "application/json", "content-length": str(len(proto.body))}
    return asyncio.create_task(app.__rsgi__(Scope("POST", "/invocations", **headers), proto))  # type: ignore[arg-type]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 30))


BODY = b"[[1, 2]]"


def test_nothing_is_answered_before_the_golden_rows(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model)
        proto = Proto(BODY)
        await invoke(app, proto)
        assert (proto.status, (await ping(app)).status) == (503, 503)
        await app.verify()
        await invoke(app, proto)
        assert (proto.status, (await ping(app)).status) == (200, 200)
        app.close()

    run(main)


def test_a_request_that_is_given_up_when_it_is_answered_already_is_answered_once(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model)
        await app.verify()
        statuses: list[int] = []

        class Late(Proto):
            def response_bytes(self, status: int, _headers: list[tuple[str, str]], _body: bytes) -> None:
                statuses.append(status)
                app.refuse_all()  # before the request's task goes on

        await invoke(app, Late(BODY))
        assert statuses == [200]
        app.close()

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1000])
def test_a_broken_model_is_not_healthy_until_it_gives_its_golden_answers(model: Model, inline_rows: int) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=inline_rows)
        await app.verify()
        switch.broken = True
        proto = Proto(BODY)
        await invoke(app, proto)
        assert proto.status == 500
        assert "wire" not in proto.answer["error"]
        sick = await ping(app)
        assert (sick.status, sick.answer["error"]) == (503, REASONS[State.BROKEN])
        switch.broken = False
        while (await ping(app)).status != 200:  # noqa: ASYNC110  # the golden rows are tried again and again
            await asyncio.sleep(0.02)
        await invoke(app, proto)
        assert proto.status == 200
        app.close()

    run(main)


def test_an_answer_that_comes_too_late_is_a_504(model: Model) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=0, deadline_s=0.05)
        await app.verify()
        switch.may_go.clear()
        late, waiting = Proto(BODY), Proto(BODY)
        await asyncio.gather(invoke(app, late), invoke(app, waiting))
        assert (late.status, waiting.status) == (504, 504)
        switch.may_go.set()
        assert app.in_flight == 0
        await invoke(app, late)
        assert late.status == 200
        app.close()

    run(main)


def test_a_body_that_comes_too_late_is_a_408_and_holds_nobody_up(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model, deadline_s=0.2)
        await app.verify()
        slow, other = Proto(BODY), Proto(BODY)
        slow.arrival = asyncio.Event()
        reading = invoke(app, slow)
        await asyncio.sleep(0)
        await invoke(app, other)
        assert (other.status, reading.done()) == (200, False)
        await reading
        assert slow.status == 408
        app.close()

    run(main)


def test_when_the_time_to_drain_is_over_what_is_left_gets_a_503(model: Model) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=0)
        await app.verify()
        switch.may_go.clear()
        held = Proto(BODY)
        request = invoke(app, held)
        await asyncio.sleep(0)
        assert app.in_flight == 1
        app.refuse_all()
        await request
        assert (held.status, held.answer["error"]) == (503, "the server stops")
        switch.may_go.set()
        app.close()

    run(main)


def test_too_many_requests_are_refused_unread(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model, max_requests=1)
        await app.verify()
        first, second = Proto(BODY), Proto(BODY)
        first.arrival = asyncio.Event()
        reading = invoke(app, first)
        await asyncio.sleep(0)
        await invoke(app, second)
        assert (second.status, second.answer["remedy"][:5]) == (503, "retry")
        first.arrival.set()
        await reading
        assert first.status == 200
        app.close()

    run(main)
