from __future__ import annotations

import _thread
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi.provider.experimental import provider as p

from infra.engine import Change, Diagnostic, Engine, EngineError, Event, Op, Secret, StepDone, StepFailed, StepStarted
from infra.engine.secrets import Crypter
from tests.engine_support.toy import ToyProvider
from tests.engine_support.twin import PASSPHRASE, SALT, Embedded

TWO = (
    'a = Thing("a", value=1)\nb = Thing("b", value=a.arn, password=Output.secret("pw"))\npulumi.export("b", b.token)\n'
)


def test_an_up_makes_everything_and_a_second_one_changes_nothing(lab: Embedded) -> None:
    lab.write(TWO)
    first = lab.engine().up()
    assert (first.summary, first.changed, len(lab.things())) == ({"create": 3}, True, 2)
    written = lab.engine().state_file.read_bytes()
    second = lab.engine().up()
    assert (second.summary, second.changed) == ({"same": 3}, False)
    assert lab.engine().state_file.read_bytes() == written
    assert second.outputs == {"b": Secret(next(iter(second.outputs.values())).value)}
    assert "pw" not in json.dumps(second.to_json())


def test_a_preview_changes_nothing_and_shows_what_differs_with_both_values(lab: Embedded) -> None:
    lab.write(TWO)
    assert lab.engine().preview().summary == {"create": 3}
    assert not lab.engine().state_file.exists()
    lab.engine().up()
    lab.write('a = Thing("a", value=2, kind="k")\nb = Thing("b", value=a.arn, password=Output.secret("new"))\n')
    shown = {s.name: s for s in lab.engine().preview().steps if s.op in (Op.REPLACE, Op.UPDATE)}
    assert shown["a"].diff == (Change("kind", "add-replace", None, "k"), Change("value", "update", 1, 2))
    assert shown["a"].replace_keys == ("kind",)
    password = next(c for c in shown["b"].to_json()["diff"] if c["path"] == "password")
    assert password == {"path": "password", "kind": "update", "old": "[secret]", "new": "[secret]"}
    value = next(c for c in shown["b"].to_json()["diff"] if c["path"] == "value")
    assert value["new"] == "[unknown]"
    assert len(lab.things()) == 2


def test_destroy_leaves_nothing(lab: Embedded) -> None:
    lab.write(TWO)
    lab.engine().up()
    assert lab.engine().destroy().summary == {"delete": 3}
    assert (lab.things(), lab.engine().outputs()) == ({}, {})
    assert lab.engine().destroy().steps == ()


def test_events_tell_the_beginning_and_the_end_of_every_step_one_at_a_time(lab: Embedded) -> None:
    events: list[Event] = []
    inside = threading.Lock()

    def note(event: Event) -> None:
        assert inside.acquire(blocking=False)
        events.append(event)
        inside.release()

    lab.write(TWO + 'pulumi.log.warn("careful")\n' + "".join(f'Thing("t{i}")\n' for i in range(20)))
    done = lab.engine(on_event=note).up()
    begun = [e.step for e in events if isinstance(e, StepStarted)]
    assert sorted(s.urn for s in begun) == sorted(s.urn for s in done.steps)
    assert tuple(e.step for e in events if isinstance(e, StepDone)) == done.steps
    assert Diagnostic("warning", "careful") in events


def test_a_failure_stops_what_is_to_come_keeps_what_is_done_and_is_told_once(lab: Embedded) -> None:
    lab.write('a = Thing("a")\nb = Thing("b", value=a.arn, fail="create")\nc = Thing("c", value=b.arn)\n')
    with pytest.raises(
        EngineError, match="create of toy:index:Thing 'b': told to fail this create; 2 resources"
    ) as caught:
        lab.engine().up()
    result = caught.value.result
    assert result is not None
    assert [f.step.name for f in result.failures if isinstance(f, StepFailed)] == ["b"]
    assert len(lab.things()) == 1
    lab.write('a = Thing("a")\nb = Thing("b", value=a.arn)\nc = Thing("c", value=b.arn)\n')
    assert lab.engine().up().summary == {"create": 2, "same": 2}


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ('raise ValueError("no model")', r"the program raised ValueError \(__main__.py:\d+\): no model"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ('Thing("a")\nThing("a")', "toy:index:Thing 'a' is declared twice"),
        ('pulumi.CustomResource("toy:index:Other", "a", {})', "unknown resource type toy:index:Other"),
        ('pulumi.CustomResource("gcp:index:Other", "a", {})', "package 'gcp': the embedded engine has no provider"),
        ('Thing("a", size="big")', "size: must be a number, got 'big'"),
        ('pulumi.Config().require("missing")', "Missing required configuration variable 'lab:missing'"),
        (
            'Thing("a", opts=Opts(replace_with=[Thing("b")]))',
            "ReplaceWith option: the embedded engine does not do this",
        ),
        (
            'Thing("a", opts=Opts(transforms=[lambda a: a.no]))',
            "transform of resource 'a' raised: .*attribute 'no'",
        ),
        ('Thing("a", opts=Opts(replacement_trigger=1))', "option replacementTrigger: the embedded engine does not"),
        ('Thing("a", opts=Opts(plugin_download_url="x"))', "option pluginDownloadURL: the embedded engine does not"),
        (
            'Thing("a", opts=Opts(custom_timeouts=pulumi.CustomTimeouts(create="soon")))',
            "timeout 'soon' is no duration",
        ),
        ('Thing("a", opts=Opts(import_="none"))', "resource 'none' does not exist"),
        ('pulumi.StackReference("none")', "stack 'none' of project 'lab' has no state here"),
        ('pulumi.StackReference("a/b")', "'organization/<project>/<stack>'"),
        ('pulumi.runtime.invoke("toy:index:nothing", {})', "unknown function toy:index:nothing"),
        ('a = Thing("a"); Thing("b", opts=Opts(parent=a, depends_on=[a])); import sys; sys.exit(3)', "SystemExit"),
    ],
)
def test_a_program_that_is_wrong_is_told_in_one_line(lab: Embedded, program: str, told: str) -> None:
    lab.write(program)
    with pytest.raises(EngineError, match=told) as caught:
        lab.engine().up()
    assert "\n" not in str(caught.value)


def test_a_program_runs_afresh_each_time_and_leaves_the_process_as_it_was(lab: Embedded) -> None:
    (lab.program / "toy_helper_module.py").write_text("VALUE = 1\n")
    lab.write(
        'import os, sys, toy_helper_module\nThing("a", value=toy_helper_module.VALUE, tags={"cwd": os.getcwd()})\n'
    )
    before = Path.cwd(), list(sys.path), list(sys.argv), dict(os.environ)
    lab.engine().up()
    assert (Path.cwd(), list(sys.path), list(sys.argv), dict(os.environ)) == before
    assert "toy_helper_module" not in sys.modules
    assert next(iter(lab.things().values()))["tags"]["cwd"] == str(lab.program)
    (lab.program / "toy_helper_module.py").write_text("VALUE = 2  # longer\n")
    assert lab.engine().up().summary == {"same": 1, "update": 1}


def test_a_wrong_passphrase_changes_nothing(lab: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write('Thing("a")')
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    with pytest.raises(EngineError, match="incorrect passphrase"):
        lab.engine().up()
    assert lab.things() == {}
    assert not lab.engine().state_file.exists()


def test_configuration_reaches_the_program_with_its_secrets_decrypted(lab: Embedded) -> None:
    sealed = Crypter(lambda: PASSPHRASE, SALT).encrypt("hush")
    stack = f"config:\n  lab:n: 3\n  lab:key: {{secure: '{sealed}'}}\nencryptionsalt: {SALT}\n"
    (lab.program / "Pulumi.dev.yaml").write_text(stack)
    lab.write(
        'c = pulumi.Config()\npulumi.export("n", c.require_int("n"))\npulumi.export("k", c.require_secret("key"))\n'
    )
    result = lab.engine().up()
    assert result.outputs == {"n": 3, "k": Secret("hush")}
    assert "hush" not in lab.engine().state_file.read_text()


def test_drift_is_taken_over_by_a_refresh_and_undone_by_an_up(lab: Embedded) -> None:
    lab.write('Thing("a", name="aa", value=1)\nThing("b", name="bb", value=1)\n')
    lab.engine().up()
    (lab.cloud / "bb.json").unlink()
    changed = lab.cloud / "aa.json"
    changed.write_text(changed.read_text().replace('"value": 1.0', '"value": 9.0'))
    found = lab.engine().refresh()
    assert found.summary == {"delete": 1, "same": 1, "update": 1}
    assert Change("value", "update", 1, 9) in next(s for s in found.steps if s.op is Op.UPDATE).diff
    assert lab.engine().up().summary == {"create": 1, "same": 1, "update": 1}
    assert lab.things()["aa"]["value"] == 1.0


def test_a_moved_address_is_used_to_destroy(lab: Embedded) -> None:
    lab.write('Thing("a")')
    lab.engine().up()
    stack = lab.program / "Pulumi.dev.yaml"
    stack.write_text(stack.read_text().replace("region: here", "region: there"))
    lab.engine().destroy()
    configured = [json.loads(c) for c in (lab.cloud / "calls.log").read_text().splitlines() if '"configure"' in c]
    assert [c["args"]["region"] for c in configured] == ["here", "there"]


class _Meeting(ToyProvider):
    """Lets no creation end before `width` of them run at a time, and counts how many ever do."""

    def __init__(self, cloud: Path, width: int) -> None:
        super().__init__(cloud)
        self.width, self.running, self.most, self.met = width, 0, 0, asyncio.Event()

    async def create(self, request: p.CreateRequest) -> p.CreateResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running == self.width:
            self.met.set()
        await self.met.wait()
        self.running -= 1
        return await super().create(request)


def test_steps_run_in_parallel_up_to_the_limit(lab: Embedded) -> None:
    lab.write("".join(f'Thing("t{i}")\n' for i in range(12)))
    provider = _Meeting(lab.cloud, 3)
    engine = Engine(
        root=lab.program, stack="dev", providers={"toy": lambda: provider}, home=lab.folder / "state", parallel=3
    )
    assert engine.up().summary == {"create": 13}
    assert provider.most == 3


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: a process that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interrupt_lets_the_running_step_end_and_saves_it(lab: Embedded) -> None:
    lab.write('a = Thing("a")\nb = Thing("b", value=a.arn)\n')

    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.step.name == "a":
            _thread.interrupt_main()

    with pytest.raises(EngineError, match="interrupted"):
        lab.engine(on_event=interrupt).up()
    made = len(lab.things())
    assert lab.engine().up().summary["same"] == 1 + made
    assert len(lab.things()) == 2


def test_a_creation_that_was_entered_but_still_stands_as_pending_is_left_alone(lab: Embedded) -> None:
    lab.write('Thing("a", value=1)\n')
    lab.engine().up()
    state = json.loads(lab.engine().state_file.read_text())
    made = state["deployment"]["resources"][-1]
    pending = {k: v for k, v in made.items() if k not in ("id", "outputs")}
    state["deployment"]["pending_operations"] = [{"resource": pending, "type": "creating"}]
    lab.engine().state_file.write_text(json.dumps(state))
    assert lab.engine().up().summary == {"same": 2}
    assert len(lab.things()) == 1
    assert "pending_operations" not in lab.engine().state_file.read_text()
