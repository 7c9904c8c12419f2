"""The application alone, without connections: health, deadlines, stopping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from inference.app import REASONS, App
from inference.board import State
from inference.contract.network import Single
from inference.errors import Headers
from inference.exchange import Exchange
from inference.model import Model, load
from inference.settings import Settings
from tests.inference_support import artifacts


class Call:
    """A request of the application's, and what it was answered: the wire's other end."""

    def __init__(self, app: App, method: str = "POST", path: str = "/invocations", body: bytes = b"") -> None:
        self.app = app
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        self.exchange = Exchange(self, method, path, "", headers, b"", perf_counter())
        self.exchange.body = body
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.said: dict[str, Any] = {}
        self.headers: Headers = ()
        self.own: Headers = ()

    def answer(self, _exchange: Exchange, status: int, headers: Headers, body: bytes, own: Headers) -> None:
        self.status, self.said, self.headers, self.own = status, orjson.loads(body), headers, own
        self.answered.set_result(None)

    def begin(self) -> Call:
        self.app.begin(self.exchange)
        return self

    async def end(self) -> Call:
        self.app.complete(self.exchange)
        await self.answered
        return self


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


async def ping(app: App) -> Call:
    return await Call(app, "GET", "/ping").end()


async def invoke(app: App) -> Call:
    return await Call(app, body=BODY).end()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 30))


BODY = b"[[1, 2]]"


def test_nothing_is_answered_before_the_golden_rows(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model)
        assert ((await invoke(app)).status, (await ping(app)).status) == (503, 503)
        await app.verify()
        assert ((await invoke(app)).status, (await ping(app)).status) == (200, 200)
        app.close()

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1000])
def test_a_request_that_is_given_up_when_it_is_answered_already_is_answered_once(
    model: Model, inline_rows: int
) -> None:
    async def main() -> None:
        app, _ = app_of(model, inline_rows=inline_rows)
        await app.verify()
        statuses: list[int] = []

        class Late(Call):
            def answer(self, exchange: Exchange, status: int, headers: Headers, body: bytes, own: Headers) -> None:
                statuses.append(status)
                app.refuse_all()  # before the request has left
                super().answer(exchange, status, headers, body, own)

        await Late(app, body=BODY).end()
        app.refuse_all()
        assert (statuses, app.in_flight) == ([200], 0)
        app.close()

    run(main)


@pytest.mark.parametrize("inline_rows", [0, 1000])
def test_a_broken_model_is_not_healthy_until_it_gives_its_golden_answers(model: Model, inline_rows: int) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=inline_rows)
        await app.verify()
        switch.broken = True
        refused = await invoke(app)
        assert refused.status == 500
        assert "wire" not in refused.said["error"]
        sick = await ping(app)
        assert (sick.status, sick.said["error"]) == (503, REASONS[State.BROKEN])
        switch.broken = False
        while (await ping(app)).status != 200:  # noqa: ASYNC110  # the golden rows are tried again and again
            await asyncio.sleep(0.02)
        assert (await invoke(app)).status == 200
        app.close()

    run(main)


def test_what_a_caller_sent_stands_apart_from_the_headers_that_are_remembered(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model)
        await app.verify()
        call = Call(app, body=BODY)
        call.exchange.headers |= {"x-amzn-sagemaker-custom-attributes": "mine"}
        await call.end()
        assert call.headers == (("content-type", "application/json"),)
        assert call.own == (("x-amzn-sagemaker-custom-attributes", "mine"),)
        app.close()

    run(main)


def test_an_answer_that_comes_too_late_is_a_504(model: Model) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=0, deadline_s=0.05)
        await app.verify()
        switch.may_go.clear()
        late, waiting = await asyncio.gather(invoke(app), invoke(app))
        assert (late.status, waiting.status) == (504, 504)
        switch.may_go.set()
        assert app.in_flight == 0
        assert (await invoke(app)).status == 200
        app.close()

    run(main)


def test_a_body_that_comes_too_late_is_a_408_and_holds_nobody_up(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model, deadline_s=0.2)
        await app.verify()
        slow = Call(app, body=BODY).begin()
        other = await invoke(app)
        assert (other.status, slow.status) == (200, 0)
        await slow.answered
        assert slow.status == 408
        app.close()

    run(main)


def test_a_request_whose_caller_has_gone_is_given_up(model: Model) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=0)
        await app.verify()
        switch.may_go.clear()
        computed, reading = Call(app, body=BODY), Call(app, body=BODY).begin()
        app.complete(computed.exchange)
        for call in (computed, reading):
            app.gone(call.exchange)
        assert app.in_flight == 0
        switch.may_go.set()
        assert (await invoke(app)).status == 200
        app.close()

    run(main)


def test_when_the_time_to_drain_is_over_what_is_left_gets_a_503(model: Model) -> None:
    async def main() -> None:
        app, switch = app_of(model, inline_rows=0)
        await app.verify()
        switch.may_go.clear()
        held = Call(app, body=BODY)
        app.complete(held.exchange)
        assert app.in_flight == 1
        app.refuse_all()
        assert (held.status, held.said["error"]) == (503, "the server stops")
        switch.may_go.set()
        app.close()

    run(main)


def test_too_many_requests_are_refused_unread(model: Model) -> None:
    async def main() -> None:
        app, _ = app_of(model, max_requests=1)
        await app.verify()
        first = Call(app, body=BODY).begin()
        second = Call(app, body=BODY).begin()
        assert (second.status, second.said["remedy"][:5]) == (503, "retry")
        assert (await first.end()).status == 200
        app.close()

    run(main)
