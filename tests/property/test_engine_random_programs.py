"""Random graphs of resources and random edits of them, through the whole engine and through the planner alone."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from infra.engine.planner import Diff, deletion_levels, settle
from infra.engine.state import Resource
from tests.engine_support.toy import ToyProvider
from tests.engine_support.twin import PASSPHRASE, Embedded, Lab, Real, cli, differences, steady

NAMES = "abcdefgh"


@dataclass(frozen=True)
class Node:
    """One resource of a program: what it needs (earlier ones), by what, and what is edited about it."""

    name: str
    needs: tuple[str, ...]
    replacing: bool
    """Its dependencies reach it through a property that replaces it."""
    value: int
    kind: int
    fixed: bool
    first: bool | None
    """deleteBeforeReplace."""
    options: str = ""
    """Further options, as the program writes them."""

    def line(self) -> str:
        inputs = [f"value={self.value}", f"kind='{self.kind}'"]
        if self.needs:
            sources = ", ".join(f"{n}.arn" for n in self.needs)
            inputs.append(f"refs=[{sources}]")
            if self.replacing:
                joined = ", ".join(f"'/', {n}.arn" for n in self.needs)
                inputs[1] = f"kind=Output.concat('{self.kind}', {joined})"
        if self.fixed:
            inputs.append(f"name='fixed-{self.name}'")
        options = f"delete_before_replace={self.first}, {self.options}"
        return f"{self.name} = Thing('{self.name}', {', '.join(inputs)}, opts=Opts({options}))\n"


OPTIONS = (
    "", "ignore_changes=['value']", "replace_on_changes=['value']", "additional_secret_outputs=['arn']",
    "transforms=[marked]", "custom_timeouts=pulumi.CustomTimeouts(create='5m')",
)  # fmt: skip
MOVING = ("retain_on_delete=True", "parent={0}", "depends_on=[{0}]", "deleted_with={0}")
"""Options that leave things behind or change a URN: not where a fixed name would then be there twice."""
TRANSFORM = """
def marked(args):
    return pulumi.ResourceTransformResult({**args.props, "tags": {"by": args.name}}, args.opts)
"""


@st.composite
def options(draw: st.DrawFn, node: Node, earlier: tuple[str, ...]) -> Node:
    """The node with options of all kinds."""
    found = [draw(st.sampled_from(OPTIONS))]
    if not node.fixed and earlier:
        found.append(draw(st.sampled_from(("", *MOVING))).format(draw(st.sampled_from(earlier))))
    return replace(node, options=", ".join(filter(None, found)))


@st.composite
def programs_with_options(draw: st.DrawFn) -> list[Node]:
    nodes = draw(programs())
    names = tuple(node.name for node in nodes)
    return [draw(options(node, names[:at])) for at, node in enumerate(nodes)]


@st.composite
def programs(draw: st.DrawFn) -> list[Node]:
    names = draw(st.permutations(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))))
    nodes = []
    for at, name in enumerate(names):
        fixed = draw(st.booleans())
        nodes.append(
            Node(
                name,
                tuple(draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=2)) if at else ()),
                draw(st.booleans()),
                draw(st.integers(0, 2)),
                draw(st.integers(0, 1)),
                fixed,
                True if fixed else draw(st.sampled_from([None, True])),
            )
        )
    return nodes


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(programs(), min_size=1, max_size=4))
def test_every_edit_is_reached_once_and_destroy_leaves_nothing(versions: list[list[Node]]) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, PULUMI_CONFIG_PASSPHRASE=PASSPHRASE):
        lab = Embedded(Path(folder))
        needed: dict[str, set[str]] = {}

        def deleted(operation: str, urn: str) -> None:
            if operation == "delete":
                gone.append(urn)

        for nodes in versions:
            lab.write("".join(node.line() for node in nodes))
            gone: list[str] = []
            planned = lab.engine().preview().summary
            done = lab.engine(lambda: ToyProvider(lab.cloud, after=deleted)).up()
            assert planned.get("delete", 0) == done.summary.get("delete", 0)
            assert lab.engine().up().summary == {"same": len(nodes) + 1}
            made = [p.stem.removeprefix("fixed-").partition("-")[0] for p in lab.cloud.glob("*.json")]
            assert sorted(made) == sorted(n.name for n in nodes)
            needed = {r["urn"]: set(r.get("dependencies", ())) for r in lab.export()["resources"]}
        gone = []
        lab.engine(lambda: ToyProvider(lab.cloud, after=deleted)).destroy()
        assert list(lab.cloud.glob("*.json")) == []
        assert lab.export()["resources"] == []
        for at, urn in enumerate(gone):
            assert not needed[urn].intersection(gone[:at]), "something was deleted before what needs it"


def left_in(lab: Lab) -> list[str]:
    """What retainOnDelete and deletedWith have left in the cloud, random names aside; many may be called the same."""
    return sorted(json.dumps(steady(json.loads(path.read_text())), sort_keys=True) for path in lab.cloud.glob("*.json"))


@pytest.mark.slow
@pytest.mark.skipif(cli() is None, reason="the real Pulumi CLI is neither on PATH nor in ../shared/tools")
@settings(max_examples=int(os.environ.get("SAGESTAGE_RANDOM_PROGRAMS", "3")), deadline=None, phases=[Phase.generate])
@given(st.lists(programs_with_options(), min_size=2, max_size=3))
def test_the_real_engine_does_the_same_with_random_programs(versions: list[list[Node]]) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, PULUMI_CONFIG_PASSPHRASE=PASSPHRASE):
        real, embedded = Real(Path(folder) / "real"), Embedded(Path(folder) / "embedded")
        for nodes in versions:
            for lab in (real, embedded):
                lab.write(TRANSFORM + "".join(node.line() for node in nodes))
            assert differences(real.operate("up"), embedded.operate("up")) == []
        assert differences(real.operate("destroy"), embedded.operate("destroy")) == []
        assert left_in(real) == left_in(embedded)


@st.composite
def states(draw: st.DrawFn) -> list[Resource]:
    found: list[Resource] = []
    for _ in range(draw(st.integers(0, 12))):
        urn = f"urn:pulumi:dev::lab::t:i:T::{draw(st.sampled_from(NAMES))}"
        earlier = sorted({r.urn for r in found})
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        parent = draw(st.sampled_from(["", *earlier]))
        found.append(Resource(urn, "t:i:T", dependencies=tuple(needs), parent=parent, delete=draw(st.booleans())))
    return found


@given(states())
def test_deletions_are_complete_and_go_against_the_dependencies(olds: list[Resource]) -> None:
    levels = deletion_levels(olds)
    order = {index: at for at, level in enumerate(levels) for index in level}
    assert sorted(order) == list(range(len(olds)))
    for index, resource in enumerate(olds):
        for urn in resource.needs():
            assert all(order[index] < order[j] for j in range(index) if olds[j].urn == urn)


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b.c", "d"]), inner, max_size=3),
    max_leaves=8,
)
properties = st.dictionaries(st.sampled_from(["a", "b", "c d"]), trees, max_size=3)


@given(properties, properties)
def test_the_engines_own_diff_is_empty_exactly_for_equal_inputs(old: dict[str, object], new: dict[str, object]) -> None:
    assert settle(Diff(), old, old, ()).changes is False
    found = settle(Diff(), old, new, ())
    assert bool(found.changes) == bool(found.detailed) == bool(found.changed)
    assert set(found.changed) <= old.keys() | new.keys()
