from __future__ import annotations

import pytest

from infra.engine import EngineError, Options
from infra.engine.targets import Targets
from tests.engine_support.twin import Embedded

URN = "urn:pulumi:dev::lab::toy:index:Thing::"
PROGRAM = 'a = Thing("a", value={0})\nb = Thing("b", value={0})\nc = Thing("c", value=b.arn, size={0})\n'


def values(lab: Embedded) -> dict[str, object]:
    return {name.partition("-")[0]: thing["value"] for name, thing in lab.things().items()}


@pytest.mark.parametrize(
    ("pattern", "urn", "matches"),
    [
        (URN + "a", URN + "a", True),
        (URN + "a", URN + "ab", False),
        (URN + "*", URN + "ab", True),
        ("**::a", URN + "a", True),
        ("*::a", URN + "a", False),
        ("**Thing**", URN + "a", True),
    ],
)
def test_a_star_stands_for_text_without_colons_and_two_for_any(pattern: str, urn: str, *, matches: bool) -> None:
    assert Targets((pattern,)).has(urn) is matches


def test_only_targets_are_changed(lab: Embedded) -> None:
    lab.write(PROGRAM.format(1))
    lab.engine().up()
    lab.write(PROGRAM.format(2))
    engine = lab.engine(options=Options(targets=(URN + "a",)))
    assert engine.preview().summary == {"same": 3, "update": 1}
    engine.up()
    assert (values(lab)["a"], values(lab)["b"]) == (2.0, 1.0)
    assert lab.engine().up().summary == {"same": 2, "update": 2}


def test_only_targets_are_made_and_what_one_needs_has_to_be_one(lab: Embedded) -> None:
    lab.write(PROGRAM.format(1))
    with pytest.raises(EngineError, match=r"needs urn:.*::b, which does not exist yet and is no target; add --target"):
        lab.engine(options=Options(targets=(URN + "c",))).up()
    assert values(lab) == {}
    lab.engine(options=Options(targets=(URN + "a",))).up()
    assert values(lab).keys() == {"a"}
    lab.engine(options=Options(targets=(URN + "b", URN + "c"))).up()
    assert values(lab).keys() == {"a", "b", "c"}


def test_only_targets_are_deleted_and_nothing_that_is_needed(lab: Embedded) -> None:
    lab.write(PROGRAM.format(1))
    lab.engine().up()
    with pytest.raises(EngineError, match=r"cannot be deleted: urn:.*::c needs it and is no target"):
        lab.engine(options=Options(targets=(URN + "b",))).destroy()
    assert len(lab.things()) == 3
    lab.engine(options=Options(targets=(URN + "b", URN + "c"))).destroy()
    assert values(lab).keys() == {"a"}
    lab.write("")
    lab.engine(options=Options(targets=(URN + "a",))).up()
    assert values(lab) == {}


def test_a_target_that_names_nothing_is_told(lab: Embedded) -> None:
    lab.write(PROGRAM.format(1))
    lab.engine().up()
    for operation in ("up", "refresh", "destroy"):
        with pytest.raises(EngineError, match=r"--target \*\*::zz: no resource of this stack"):
            getattr(lab.engine(options=Options(targets=("**::zz",))), operation)()
