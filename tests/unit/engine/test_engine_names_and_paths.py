from __future__ import annotations

import pytest

from infra.engine import EngineError, Secret, durations, paths, urns
from infra.engine.urns import Alias

STACK = "urn:pulumi:dev::lab::pulumi:pulumi:Stack::lab-dev"
GROUP = "urn:pulumi:dev::lab::lab:index:Group::g"


def test_a_urn_has_the_types_of_its_parents_but_not_the_stack() -> None:
    assert urns.make("dev", "lab", STACK, "lab:index:Group", "g") == GROUP
    inner = urns.make("dev", "lab", GROUP, "toy:index:Thing", "a::b")
    assert inner == "urn:pulumi:dev::lab::lab:index:Group$toy:index:Thing::a::b"
    assert (urns.type_of(inner), urns.name_of(inner)) == ("toy:index:Thing", "a::b")


def test_a_child_is_found_under_its_parents_earlier_name_and_its_own() -> None:
    child = urns.make("dev", "lab", "urn:pulumi:dev::lab::lab:index:Group::g2", "toy:index:Thing", "g2-x")
    found = urns.alias_urns(child, "urn:pulumi:dev::lab::lab:index:Group::g2", [Alias(name="y")], {
        "urn:pulumi:dev::lab::lab:index:Group::g2": GROUP
    }, "dev", "lab")  # fmt: skip
    prefix = "urn:pulumi:dev::lab::lab:index:Group$toy:index:Thing::"
    assert found == (prefix + "y", prefix + "g-x")


@pytest.mark.parametrize(
    ("alias", "urn"),
    [
        (Alias(urn="urn:x"), "urn:x"),
        (Alias(name="b"), "urn:pulumi:dev::lab::lab:index:Group$t:i:T::b"),
        (Alias(type="o:i:O"), "urn:pulumi:dev::lab::lab:index:Group$o:i:O::a"),
        (Alias(no_parent=True), "urn:pulumi:dev::lab::t:i:T::a"),
        (Alias(parent=STACK, stack="old", project="was"), "urn:pulumi:old::was::t:i:T::a"),
    ],
)
def test_an_alias_says_what_was_different(alias: Alias, urn: str) -> None:
    own = urns.make("dev", "lab", GROUP, "t:i:T", "a")
    assert urns.alias_urns(own, GROUP, [alias], {}, "dev", "lab") == (urn,)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ('a["x.y"].*', ("a", "x.y", "*")),
        ("a[*]", ("a", "*")),
        ("#", ("#",)),
    ],
)
def test_paths_are_read(text: str, path: tuple[str | int, ...]) -> None:
    assert paths.parse(text) == path


@pytest.mark.parametrize("text", ["a[", "a..b", "[x]", 'a["b]'])
def test_a_path_that_is_none_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(EngineError, match="not understood"):
        paths.parse(text)


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("a", {"a": 1, "t": {"x": 2, "z": 9}, "l": [7, 8]}),
        ("t.x", {"a": 5, "t": {"x": 1, "z": 9}, "l": [7, 8]}),
        ("t.z", {"a": 5, "t": {"x": 2}, "l": [7, 8]}),
        ("t.gone", {"a": 5, "t": {"x": 2, "z": 9, "gone": 0}, "l": [7, 8]}),
        ("t.*", {"a": 5, "t": {"x": 1, "gone": 0}, "l": [7, 8]}),
        ("l[0]", {"a": 5, "t": {"x": 2, "z": 9}, "l": [3, 8]}),
        ("none.x", {"a": 5, "t": {"x": 2, "z": 9}, "l": [7, 8]}),
    ],
)
def test_ignoring_a_change_keeps_the_old_value(path: str, result: dict[str, object]) -> None:
    old = {"a": 1, "t": {"x": 1, "gone": 0}, "l": [3, 4]}
    new = {"a": 5, "t": {"x": 2, "z": 9}, "l": [7, 8]}
    assert paths.reset(new, old, paths.parse(path)) == result


def test_a_value_inside_a_secret_is_found_and_secret() -> None:
    assert paths.get({"a": Secret({"b": 1})}, ("a", "b")) == Secret(1)


@pytest.mark.parametrize(("text", "value"), [("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5)])
def test_durations_are_gos(text: str, value: float) -> None:
    assert durations.seconds(text, "x") == value


@pytest.mark.parametrize("text", ["5", "m", "5 m", "5min", ""])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="is no duration"):
        durations.seconds(text, "toy:index:Thing 'a'")
