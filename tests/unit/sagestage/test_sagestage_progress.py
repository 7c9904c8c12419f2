from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from infra.engine import Diagnostic
from sagestage import report
from sagestage.progress import Stages


def plain() -> tuple[Stages, io.StringIO]:
    out = io.StringIO()
    ticks = itertools.count(step=2)
    return Stages(Console(file=out, width=120), clock=lambda: float(next(ticks))), out


def test_without_a_terminal_a_stage_tells_what_is_new_and_how_it_ended() -> None:
    stages, out = plain()
    with stages, stages.stage("traffic") as stage:
        stage.at("1 of 3 answered")
        stage.at("2 of 3 answered")
        stage.at("counting", detail="for a terminal only")
        stage.summary = "3 answers"
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["traffic", "1", "of", "3", "answered"],
        ["traffic", "counting"],
        ["✓", "traffic", "2.0", "s", "3", "answers"],
    ]
    assert stages.seconds == {"traffic": 2.0}


def test_a_stage_that_fails_is_crossed_and_timed() -> None:
    stages, out = plain()
    with pytest.raises(ValueError, match="no"), stages, stages.stage("up"):
        raise ValueError("no")
    assert out.getvalue().startswith("✗ up")
    assert stages.seconds == {"up": 2.0}


def test_quiet_stages_only_keep_their_times() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out), quiet=True)
    with stages, stages.stage("data") as stage:
        stage.at("reading")
    assert out.getvalue() == ""
    assert "data" in stages.seconds


def test_a_terminal_sees_the_stage_while_it_runs() -> None:
    out = io.StringIO()
    stages = Stages(Console(file=out, width=100, force_terminal=True))
    with stages, stages.stage("fit") as stage:
        stage.at("epoch 3", 0.5, detail="of 6")
        while "epoch 3 of 6" not in out.getvalue():  # drawn by a thread, ten times a second
            pass


def test_what_the_program_remarks_is_shown_once() -> None:
    stages, out = plain()
    with stages, stages.stage("up") as stage:
        listen = report.follow(stage)
        for _ in range(2):  # the plan of an `up`, and the `up` itself
            listen(Diagnostic("warning", "image 'x:latest' may change its content"))
            listen(Diagnostic("info", "the role of model m was given: it needs this policy [dim]"))
    told = out.getvalue()
    assert told.count("! image 'x:latest' may change its content") == 1
    assert told.count("i the role of model m was given: it needs this policy [dim]") == 1
