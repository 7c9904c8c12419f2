"""The declared types against what the real provider plans, what its SDK offers, and what the AWS APIs take."""

import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pulumi_aws
import pytest

from infra.provider.catalogue import TYPES
from infra.provider.difference import Change, Kind
from infra.provider.reading import dig
from infra.provider.shapes import input_shape, output_shape
from infra.provider.types import ResourceType, dig_shape
from infra.provider.values import Properties
from tests.provider_support.driving import Driver

TABLE = Path(__file__).resolve().parents[4] / "shared" / "data" / "aws_replace_on.json"

# Properties that the table lacks, and why what we say of them is right.
NOT_IN_TABLE = {
    "aws:sns/topicSubscription:TopicSubscription topic": "not asked; documented as forcing a new resource",
    "region": "came with version 6 of the provider under pulumi-aws 7; a change replaces",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration executionRoleArn": "new; the API has no update",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration expectedBucketOwner": (
        "not asked; documented as forcing a new resource"
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration expectedBucketOwner": (
        "not asked; documented as forcing a new resource"
    ),
    "aws:s3/bucketVersioning:BucketVersioning expectedBucketOwner": "not asked; documented as forcing a new resource",
    "aws:s3/bucket:Bucket bucketNamespace": "new, and refused by the local provider",
}
PLURAL = {"s3_data_source": "s3DataSources"}


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver()


def table() -> dict[str, Any]:
    if not TABLE.exists():
        pytest.skip(f"{TABLE} is not here: it is kept beside the project")
    loaded: dict[str, Any] = json.loads(TABLE.read_text())
    return loaded


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_change_replaces_exactly_where_the_real_provider_says(name: str) -> None:
    asked = table().get(name)
    if asked is None:
        pytest.skip(f"the table has no {name}")
    said = dict.fromkeys(asked["replace"], True) | dict.fromkeys(asked["update"], False)
    ours = {each: prop.replaces for each, prop in TYPES[name].inputs.items()}
    assert {each: ours[each] for each in said if each in ours} == {each: said[each] for each in said if each in ours}
    assert not said.keys() - ours.keys(), "the real provider has more"
    unasked = {each for each in ours.keys() - said.keys() - set(asked.get("not_asked", [])) if ours[each]}
    assert {each for each in unasked if each not in NOT_IN_TABLE and f"{name} {each}" not in NOT_IN_TABLE} == set()


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_providers_answer_is_the_real_ones_for_every_property(name: str, driver: Driver) -> None:
    kind = TYPES[name]
    named = kind.name.property if kind.name else ""
    for each, prop in kind.inputs.items():
        old: Properties = {each: "a", "tagsAll": {}, **({named: "n"} if named and each != named else {})}
        new: Properties = {**old, each: "b"}
        by_program = driver.diff(name, old, {**new, "__defaults": []})
        made_up = driver.diff(name, old, {**new, "__defaults": [named]})
        assert by_program.changes
        assert made_up.changes
        assert (each in by_program.replaces) == (each in made_up.replaces) == prop.replaces
        # A fixed name cannot be there twice: the old resource goes first. Everything else is made before it goes.
        assert by_program.delete_before_replace == (prop.replaces and bool(named))
        assert not made_up.delete_before_replace


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_name_is_made_up_exactly_where_the_real_provider_makes_one_up(name: str) -> None:
    """Pulumi's bridge makes up the input that is called `name`, and a bucket's."""
    auto = "bucket" if name == "aws:s3/bucket:Bucket" else "name" if "name" in offered_by_the_sdk(name) else ""
    kind = TYPES[name]
    assert (kind.name.property if kind.name else "") == auto
    assert not auto or not kind.inputs[auto].required


@pytest.mark.parametrize("name", sorted(TYPES))
def test_nested_changes_replace_exactly_where_the_real_provider_says(name: str) -> None:
    for phrase, said in table().get(name, {}).get("nested_exceptions", {}).items():
        path, _, event = phrase.partition(" block ")
        top, *steps = path.split(".")
        below = ".".join(PLURAL.get(step, re.sub(r"_(\w)", lambda found: found[1].upper(), step)) for step in steps)
        kind = {"added": Kind.ADD, "removed": Kind.DELETE, "": Kind.UPDATE}[event]
        assert TYPES[name].inputs[top].replaced_by(Change(path, below, kind)) == (said == "replace"), phrase


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_type_has_the_properties_that_programs_can_give(name: str) -> None:
    assert set(TYPES[name].inputs) == offered_by_the_sdk(name)


def offered_by_the_sdk(name: str) -> set[str]:
    """The properties that a program can give a resource of the type."""
    module, cls = name.removeprefix("aws:").split("/")[0], name.rsplit(":", 1)[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of types of its own that nobody asked for
        resource = getattr(getattr(pulumi_aws, module), cls)
    declared = inspect.signature(resource._internal_init)  # noqa: SLF001 - the overloads that are public hide the names
    return {camel(each) for each in declared.parameters if not each.startswith("_")} - {"resourceName", "opts"}


def camel(snake: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), snake)


@pytest.mark.parametrize("kind", TYPES.values(), ids=list(TYPES))
def test_declared_operations_and_members_exist_in_the_api(kind: ResourceType) -> None:
    for operation in filter(None, (kind.create, kind.read, kind.update, kind.delete)):
        input_shape(kind.service, operation)
    create = input_shape(kind.service, kind.create)
    places = (create.members.get(kind.body, create), create)
    unplaced = {
        name
        for name, prop in kind.sent_props()
        if not prop.unsupported and not any(kind.member(place, name) for place in places)
    }
    assert unplaced == set()
    answered = output_shape(kind.service, kind.read)
    if answered is not None and kind.outputs:
        found = dig_shape(answered, kind.found)
        first = {path.split(".")[0] for path in kind.outputs.values()}
        assert found.type_name == "map" or first <= found.members.keys()


def test_a_path_that_ends_early_finds_nothing() -> None:
    assert dig({"a": [{"b": 1}]}, "a.0.b") == 1
    assert dig({"a": []}, "a.0.b") is None
    assert dig({"a": "text"}, "a.b") is None
