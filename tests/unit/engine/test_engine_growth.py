"""The work that an operation takes grows linearly with the number of resources: counted, as time depends on others."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import count
from types import FrameType
from typing import Any

import pytest

from tests.engine_support.twin import Embedded

MANY = (
    'last = None\nfor i in range({n}):\n    last = Thing(f"t{{i}}", value={value}, refs=[last.arn] if last else [])\n'
)
FEW, LOTS = 30, 180
SDKS_OWN = "resource_cycle_breaker.py"
"""The SDK walks all that a resource depends on when it is declared, under either engine."""


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, on every thread that the work starts."""
    calls = count()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call") and not frame.f_code.co_filename.endswith(SDKS_OWN):
            next(calls)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None ends it
    return next(calls)


@pytest.mark.parametrize("shape", ["flat", "chain"])
def test_the_work_for_a_resource_does_not_grow_with_the_stack(lab: Embedded, shape: str) -> None:
    source = MANY if shape == "chain" else MANY.replace("last.arn", "i").replace("if last else []", "")
    spent: dict[str, list[float]] = {}
    for n in (FEW, LOTS):
        for name, operation in (("first up", "up"), ("no-op up", "up"), ("destroy", "destroy")):
            lab.write(source.format(n=n, value=1))
            calls = calls_of(getattr(lab.engine(), operation))
            spent.setdefault(name, []).append(calls / n)
    grown = {name: many / few for name, (few, many) in spent.items()}
    assert max(grown.values()) < 1.25, grown


def test_outputs_are_waited_for_once_and_not_again_for_each_that_ends(
    lab: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    wait = asyncio.wait

    def counted(tasks: Iterable[asyncio.Future[Any]], **more: Any) -> Any:
        listed = list(tasks)
        waited.append(len(listed))
        return wait(listed, **more)

    lab.write('for i in range(200):\n    Thing(f"t{i}", value=i)\n')
    lab.engine().up()
    monkeypatch.setattr(asyncio, "wait", counted)
    lab.engine().up()
    assert sum(waited) < 200 * 30, waited  # the SDK's own way: more than 300 for each resource
