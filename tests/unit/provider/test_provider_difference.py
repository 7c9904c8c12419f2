import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.provider.difference import Change, Kind, changes, same, same_json
from infra.provider.values import UNKNOWN, Plain

scalars = st.booleans() | st.integers(-9, 9) | st.sampled_from("abc")
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner), max_leaves=8
)


def found(old: Plain, new: Plain) -> dict[str, Kind]:
    return {change.path: change.kind for change in changes(old, new, "p")}


def test_differences_name_the_innermost_place() -> None:
    old: Plain = {"variants": [{"weight": 90, "name": "a"}], "gone": 1}
    new: Plain = {"variants": [{"weight": 80, "name": "a"}, {"name": "b"}], "more": "x"}
    assert found(old, new) == {
        "p.gone": Kind.DELETE,
        "p.more": Kind.ADD,
        "p.variants[0].weight": Kind.UPDATE,
        "p.variants[1]": Kind.ADD,
    }


def test_a_key_that_is_no_identifier_is_quoted() -> None:
    assert found({"sagestage:stack": "a"}, {"sagestage:stack": "b"}) == {'p["sagestage:stack"]': Kind.UPDATE}


def test_the_path_below_has_no_indices() -> None:
    assert next(changes([{"a": {"b": 1}}], [{"a": {}}], "p")) == Change("p[0].a", "a", Kind.DELETE)


@pytest.mark.parametrize("empty", [None, [], {}])
def test_nothing_empty_list_and_empty_object_are_the_same(empty: Plain) -> None:
    assert same(None, empty)
    assert not same(empty, "")
    assert not same(empty, 0)


def test_the_order_of_a_list_of_scalars_makes_no_difference() -> None:
    assert same(["a", "b"], ["b", "a"])
    assert same([1, 2.0], [2, 1.0])
    assert not same([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}])


def test_true_is_not_one() -> None:
    assert not same(True, 1)  # noqa: FBT003 - the value is the subject


def test_an_unknown_differs_from_everything_known() -> None:
    assert found("a", UNKNOWN) == {"p": Kind.UPDATE}
    assert found(None, UNKNOWN) == {"p": Kind.ADD}


def test_json_is_compared_by_what_it_says() -> None:
    assert same_json('{"a": 1, "b": [2]}', '{"b":[2],"a":1}')
    assert not same_json('{"a": 1}', '{"a": 2}')
    assert not same_json("not json", "{}")


@given(values, values)
def test_there_is_a_difference_exactly_when_values_are_not_the_same(old: Plain, new: Plain) -> None:
    assert same(old, new) == (not list(changes(old, new, "p")))
    assert same(old, new) == same(new, old)


@given(values)
def test_a_value_is_the_same_as_itself(value: Plain) -> None:
    assert same(value, value)
