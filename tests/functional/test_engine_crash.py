"""The process is killed at every change that an `up` makes, before it and after it; the next operation finishes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine_support.toy import ToyProvider
from tests.engine_support.twin import PASSPHRASE, Embedded

BEFORE = """
a = Thing("a", value=1)
b = Thing("b", value=a.arn, kind="x")
c = Thing("c", name="fixed", kind="x")
d = Thing("d", kind=c.arn)
e = Thing("e", value=b.arn)
"""
AFTER = """
a = Thing("a", value=2)
n = Thing("n", value=a.arn)
b = Thing("b", value=n.arn, kind="y")
c = Thing("c", name="fixed", kind="y")
d = Thing("d", kind=c.arn, value=b.arn)
"""
CHANGES = 10  # creations: n, b, c, d; update: a; deletions: d, c before their replacement, b after it, e


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    lab = Embedded(tmp_path)
    lab.write(BEFORE)
    lab.engine().up()
    lab.write(AFTER)
    return lab


def killed(lab: Embedded, nth: int, moment: str) -> bool:
    """Runs `up` in a child that kills itself at its nth change; whether it came to that."""
    count = 0

    def hook(*_: str) -> None:
        nonlocal count
        count += 1
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    hooks: dict[str, Callable[[str, str], None]] = {moment: hook}
    child = os.fork()
    if child == 0:
        try:
            lab.engine(lambda: ToyProvider(lab.cloud, **hooks)).up()  # type: ignore[arg-type]
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, CHANGES + 1))
def test_an_up_after_a_kill_leaves_no_orphan_and_no_duplicate(lab: Embedded, nth: int, moment: str) -> None:
    if not killed(lab, nth, moment):
        assert nth == CHANGES, "the program makes fewer changes than it is killed at"
    lab.engine().up()
    names = {r["id"] for r in lab.export()["resources"] if r["type"] == "toy:index:Thing"}
    assert {p.stem for p in lab.cloud.glob("*.json")} == names
    assert len(names) == 5
    assert lab.engine().up().summary == {"same": 6}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, CHANGES))
def test_a_destroy_after_a_kill_leaves_nothing(lab: Embedded, nth: int, moment: str) -> None:
    assert killed(lab, nth, moment)
    lab.engine().destroy()
    assert lab.things() == {}
    assert lab.export()["resources"] == []


def test_a_kill_in_the_middle_of_the_first_up_is_finished_by_the_next(lab: Embedded) -> None:
    lab.engine().destroy()
    assert killed(lab, 2, "after")
    preview = lab.engine().preview()
    assert preview.summary == {"create": 3, "same": 3}
    assert lab.engine().up().summary == {"create": 3, "same": 3}
    assert len(lab.things()) == 5


def test_a_provider_that_cannot_look_leaves_a_warning(lab: Embedded) -> None:
    from infra.engine import Diagnostic, Event  # noqa: PLC0415 - beside the only use

    assert killed(lab, 1, "before")
    events: list[Event] = []

    class Blind(ToyProvider):
        async def read(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            raise RuntimeError(f"cannot look at {request.urn}")

    lab.engine(lambda: Blind(lab.cloud), events.append).up()
    assert any(isinstance(e, Diagnostic) and "interrupted while" in e.message for e in events)
