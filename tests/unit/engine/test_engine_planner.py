from __future__ import annotations

import pytest

from infra.engine.planner import Diff, Goal, Op, cascade, decide, deletion_levels, deletion_op, kept_for, settle
from infra.engine.state import Resource
from infra.engine.values import UNKNOWN, Secret

PREFIX = "urn:pulumi:dev::lab::toy:index:Thing::"


def thing(name: str, *needs: str, **more: object) -> Resource:
    urns = tuple(PREFIX + n for n in needs)
    defaults = {"dependencies": urns, "inputs": {"value": 1}, "property_dependencies": {"value": urns}}
    return Resource(PREFIX + name, "toy:index:Thing", **{**defaults, **more})  # type: ignore[arg-type]


def goal(**more: object) -> Goal:
    return Goal(PREFIX + "a", "toy:index:Thing", custom=True, inputs={"value": 1}, **more)  # type: ignore[arg-type]


REPLACING = Diff(changes=True, replaces=("kind",), changed=("kind",))


@pytest.mark.parametrize(
    ("old", "diff", "op"),
    [
        (None, Diff(), Op.CREATE),
        (thing("a"), Diff(changes=False), Op.SAME),
        (thing("a"), Diff(changes=True, changed=("value",)), Op.UPDATE),
        (thing("a"), REPLACING, Op.REPLACE),
        (thing("a", pending_replacement=True), Diff(changes=False), Op.REPLACE),
        (thing("a", external=True), Diff(changes=False), Op.REPLACE),
    ],
)
def test_the_diff_decides_the_operation(old: Resource | None, diff: Diff, op: Op) -> None:
    assert decide(old, goal(), diff).op is op


@pytest.mark.parametrize(
    ("wanted", "offered", "first"), [(None, True, "old"), (False, True, "new"), (True, False, "old")]
)
def test_the_program_has_the_last_word_on_what_comes_first(wanted: object, offered: object, first: str) -> None:
    diff = Diff(changes=True, replaces=("kind",), delete_before_replace=bool(offered))
    assert decide(thing("a"), goal(delete_before_replace=wanted), diff).delete_first is (first == "old")


def test_a_provider_that_does_not_know_leaves_the_comparison_to_the_engine() -> None:
    found = settle(
        Diff(), {"a": 1, "b": {"c": [1, 2]}, "s": Secret("x")}, {"a": 1.0, "b": {"c": [1, 3]}, "s": "x", "n": 0}, ()
    )
    assert (found.changes, found.detailed, found.changed) == (True, {"b.c[1]": "update", "n": "add"}, ("b", "n"))


def test_true_is_not_one() -> None:
    assert settle(Diff(), {"a": True}, {"a": 1}, ()).changes


@pytest.mark.parametrize(
    ("patterns", "replaces"),
    [
        (("value",), ("value",)),
        (("tags.*",), ()),
        (("tags",), ("tags",)),
        (("*",), ("tags", "value")),
        (("other",), ()),
    ],
)
def test_replace_on_changes_covers_what_is_at_or_below_its_path(
    patterns: tuple[str, ...], replaces: tuple[str, ...]
) -> None:
    diff = Diff(changes=True, changed=("tags", "value"), detailed={"tags": "update", "value": "add"})
    found = settle(diff, {}, {}, patterns)
    assert found.replaces == replaces
    assert {k for k, v in found.detailed.items() if v.endswith("-replace")} == set(replaces)


def test_what_would_be_replaced_goes_together_with_what_it_needs() -> None:
    a, b, c, d = thing("a"), thing("b", "a"), thing("c", "b"), thing("d", "a")
    asked: dict[str, object] = {}

    def would_replace(resource: Resource, inputs: dict[str, object]) -> tuple[str, ...]:
        asked[resource.urn] = inputs["value"]
        return () if resource.urn == d.urn else ("value",)

    assert cascade([a, b, c, d], a, set(), would_replace) == [(b, ("value",)), (c, ("value",))]
    assert set(asked.values()) == {UNKNOWN}


def test_resources_that_only_wait_for_it_or_are_settled_do_not_go_with_it() -> None:
    a, waits, settled = thing("a"), thing("b", "a", property_dependencies={}), thing("c", "a")
    assert cascade([a, waits, settled], a, {settled.urn}, lambda *_: ("value",)) == []


def test_deletions_go_from_dependents_to_what_they_need() -> None:
    olds = [thing("a"), thing("b", "a"), thing("c", "a"), thing("d", "b", "c"), thing("e")]
    assert deletion_levels(olds) == [[4, 3], [2, 1], [0]]


def test_a_replaced_resource_is_deleted_after_both_dependents_of_its_name() -> None:
    olds = [thing("a"), thing("b", "a"), thing("a", delete=True), thing("b", "a", delete=True)]
    levels = deletion_levels(olds)
    order = {index: at for at, level in enumerate(levels) for index in level}
    assert order[1] < order[0]
    assert order[3] < order[2]


@pytest.mark.parametrize(
    ("resource", "op"),
    [
        (thing("a"), Op.DELETE),
        (thing("a", delete=True), Op.DELETE_REPLACED),
        (thing("a", pending_replacement=True), Op.REMOVE_PENDING),
        (thing("a", external=True), Op.DISCARD),
    ],
)
def test_how_a_resource_is_got_rid_of_depends_on_how_it_stands(resource: Resource, op: Op) -> None:
    assert deletion_op(resource) is op


def test_what_a_protected_resource_needs_stays_with_it() -> None:
    olds = [thing("a"), thing("b", "a"), thing("c", "b"), thing("d")]
    assert kept_for(olds, {PREFIX + "b"}) == {PREFIX + "a", PREFIX + "b"}
