import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.provider.experimental.property_value import Computed, PropertyValue, ResourceReference
from pulumi.runtime import rpc

from infra.provider.values import UNKNOWN, contains_unknown, plain, property_map, property_value

scalars = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner.filter(lambda value: value is not None)),
    max_leaves=20,
)


@given(values)
def test_a_value_survives_the_way_to_pulumi_and_back(value: object) -> None:
    assert plain(property_value(value)) == value  # type: ignore[arg-type]


def test_whole_doubles_are_integers_again() -> None:
    assert repr(plain(PropertyValue(90.0))) == "90"
    assert repr(plain(PropertyValue(0.5))) == "0.5"


def test_an_unknown_arrives_in_either_form_and_leaves_as_on_the_wire() -> None:
    assert plain(PropertyValue(Computed())) is UNKNOWN
    assert plain(PropertyValue(rpc.UNKNOWN)) is UNKNOWN
    assert property_value(UNKNOWN).value == rpc.UNKNOWN
    assert contains_unknown({"a": [1, {"b": UNKNOWN}]})


def test_a_resource_reference_is_its_id() -> None:
    assert plain(PropertyValue(ResourceReference("urn", PropertyValue("role-1")))) == "role-1"
    assert plain(PropertyValue(ResourceReference("urn"))) is UNKNOWN


def test_what_was_secret_is_secret_in_what_is_returned() -> None:
    token = PropertyValue("hunter2", is_secret=True)
    given_ = {"box": PropertyValue({"environment": PropertyValue({"T": token, "A": PropertyValue("b")})})}
    made = property_map({"box": {"environment": {"T": "hunter2", "A": "b"}}, "arn": "x"}, given_)
    environment = made["box"].value["environment"].value  # type: ignore[index,call-overload,union-attr]
    assert environment["T"].is_secret  # type: ignore[index,call-overload,union-attr]
    assert not environment["A"].is_secret  # type: ignore[index,call-overload,union-attr]
    assert not made["arn"].contains_secret()


def test_a_list_of_another_length_is_secret_as_a_whole() -> None:
    given_ = {"names": PropertyValue([PropertyValue("s", is_secret=True)])}
    assert property_map({"names": ["a", "b"]}, given_)["names"].is_secret


def test_an_asset_is_refused_by_kind() -> None:
    import pulumi  # noqa: PLC0415

    with pytest.raises(Exception, match="StringAsset values are not supported"):
        plain(PropertyValue(pulumi.StringAsset("x")))
