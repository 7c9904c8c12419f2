from __future__ import annotations

import pulumi
from google.protobuf import struct_pb2
from pulumi.provider.experimental.property_value import Computed, PropertyValue

from infra.engine import UNKNOWN, Secret
from infra.engine.values import (
    ASSET,
    REFERENCE,
    SIGNATURE,
    UNKNOWN_TEXT,
    Accepts,
    from_properties,
    from_struct,
    has_secret,
    has_unknown,
    keep_secret,
    masked,
    plain,
    to_properties,
    to_struct,
)

VALUES = {
    "null": None, "yes": True, "one": 1, "half": 0.5, "text": "x", "list": [1, [2.5], {}], "map": {"k": {"l": [None]}},
    "secret": Secret({"a": [1, UNKNOWN]}), "unknown": UNKNOWN, "big": 2**52,
    "reference": {SIGNATURE: REFERENCE, "urn": "urn:x", "id": "i"},
}  # fmt: skip


def test_values_survive_the_sdks_form() -> None:
    back = from_struct(to_struct(VALUES))
    assert back == VALUES
    assert isinstance(back["one"], int)
    assert isinstance(back["half"], float)


def test_values_survive_the_providers_form() -> None:
    assert from_properties(to_properties(VALUES, Accepts())) == VALUES


def test_a_provider_gets_numbers_as_floats_and_unknowns_as_their_sentinel() -> None:
    sent = to_properties({"n": 3, "u": UNKNOWN, "s": Secret("p")}, Accepts(secrets=False))
    assert sent == {"n": PropertyValue(3.0), "u": PropertyValue(UNKNOWN_TEXT), "s": PropertyValue("p")}
    assert from_properties({"u": PropertyValue(Computed())}) == {"u": UNKNOWN}


def test_a_provider_without_references_gets_ids() -> None:
    sent = to_properties({"r": VALUES["reference"]}, Accepts(references=False))
    assert sent == {"r": PropertyValue("i")}


def test_secrets_that_a_provider_cannot_see_stay_secret_by_name() -> None:
    assert keep_secret({"a": 1, "b": 2}, {"a": Secret(0)}) == {"a": Secret(1), "b": 2}


def test_an_asset_gets_the_hash_of_its_content() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": {SIGNATURE: ASSET, "text": "hello"}})
    asset = from_struct(struct)["a"]
    assert asset["hash"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    sent = to_properties({"a": asset}, Accepts())["a"].value
    assert isinstance(sent, pulumi.StringAsset)
    assert from_properties({"a": PropertyValue(sent)})["a"]["text"] == "hello"


def test_what_people_see_has_no_secret() -> None:
    assert masked({"a": [Secret("p"), UNKNOWN, 1]}) == {"a": ["[secret]", "[unknown]", 1]}
    assert "p" not in repr(Secret("p"))
    assert plain({"a": [Secret({"b": Secret(1)})]}) == {"a": [{"b": 1}]}
    assert has_secret({"a": [Secret(1)]})
    assert has_unknown([{"a": Secret(UNKNOWN)}])
    assert not has_unknown({"a": 1})
