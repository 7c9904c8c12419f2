"""check and diff, as an engine calls them. No cloud is needed."""

import json
import re

import pytest
from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime import rpc

from infra.provider.errors import ProviderError
from infra.provider.provider import AwsProvider
from infra.provider.values import UNKNOWN, Properties
from tests.provider_support.driving import ALARM, BUCKET, CONFIGURATION, ENDPOINT, MODEL, ROLE, Driver, urn, wait

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
VARIANT: Properties = {
    "variantName": "champion",
    "modelName": "m",
    "initialInstanceCount": 1,
    "instanceType": "ml.m5.large",
    "initialVariantWeight": 90,
}


@pytest.fixture(scope="module")
def driver() -> Driver:
    return Driver()


def state(driver: Driver, kind: str, inputs: Properties) -> tuple[Properties, Properties]:
    """Checked inputs, and the state that a creation with them leaves."""
    checked = driver.checked(kind, inputs)
    return checked, driver.create(kind, checked, preview=True)[1]


def kinds(answer: p.DiffResponse) -> dict[str, str]:
    return {path: each.kind.name for path, each in answer.detailed_diff.items()}


def test_a_name_is_made_up_from_the_seed_as_the_real_provider_makes_it(driver: Driver) -> None:
    checked = driver.checked(ROLE, {"assumeRolePolicy": TRUST}, name="champion")
    assert re.fullmatch(r"champion-[0-9a-f]{7}", str(checked["name"]))
    assert checked == driver.checked(ROLE, {"assumeRolePolicy": TRUST}, name="champion")


def test_a_made_up_name_stays_through_the_old_inputs(driver: Driver) -> None:
    olds: Properties = {"name": "champion-0000000", "__defaults": ["name"]}
    assert driver.checked(ROLE, {"assumeRolePolicy": TRUST}, olds)["name"] == "champion-0000000"


def test_a_name_that_a_program_no_longer_gives_is_made_up(driver: Driver) -> None:
    olds: Properties = {"name": "fixed", "__defaults": []}
    assert driver.checked(ROLE, {"assumeRolePolicy": TRUST}, olds)["name"] != "fixed"


def test_a_prefix_begins_the_name(driver: Driver) -> None:
    checked = driver.checked(ROLE, {"assumeRolePolicy": TRUST, "namePrefix": "team-"})
    assert re.fullmatch(r"team-[0-9a-f]{7}", str(checked["name"]))
    again = driver.checked(ROLE, {"assumeRolePolicy": TRUST, "namePrefix": "team-"}, {**checked, "name": "team-1"})
    assert again["name"] == "team-1"


def test_a_bucket_has_a_name_in_small_letters(driver: Driver) -> None:
    assert str(driver.checked(BUCKET, {}, name="Capture")["bucket"]).startswith("capture-")


def test_a_name_that_is_too_long_is_refused_with_its_length(driver: Driver) -> None:
    request = p.CheckRequest(urn(ROLE, "r" * 60), {}, {"assumeRolePolicy": PropertyValue(TRUST)}, b"s")
    failures = wait(driver.provider.check(request)).failures or []
    assert [(each.property, "has 68 characters and AWS allows 64" in each.reason) for each in failures] == [
        ("name", True)
    ]


def test_defaults_are_filled_in_and_noted(driver: Driver) -> None:
    checked = driver.checked(ROLE, {"assumeRolePolicy": TRUST, "path": "/x/"})
    assert (checked["path"], checked["maxSessionDuration"]) == ("/x/", 3600)
    assert checked["__defaults"] == ["forceDetachPolicies", "maxSessionDuration", "name"]


def test_an_unknown_property_is_a_failure_that_names_it(driver: Driver) -> None:
    found = driver.problems(ROLE, {"assumeRolePolicy": TRUST, "colour": "red"})
    assert "is not a property of aws:iam/role:Role" in found["colour"]


def test_an_unknown_type_is_a_failure_that_names_it(driver: Driver) -> None:
    assert "no resource type aws:ec2/vpc:Vpc" in driver.problems("aws:ec2/vpc:Vpc", {})[""]


def test_a_nested_mistake_is_named_by_its_path(driver: Driver) -> None:
    variant = {**VARIANT, "initialInstanceCount": "two"}
    found = driver.problems(CONFIGURATION, {"productionVariants": [variant]})
    assert found == {"productionVariants[0].initialInstanceCount": "must be a whole number, got 'two'"}


def test_what_is_missing_is_named(driver: Driver) -> None:
    assert driver.problems(MODEL, {}) == {"executionRoleArn": "is required and missing"}


def test_what_the_local_provider_lacks_is_refused_with_the_way_out(driver: Driver) -> None:
    assert "aws.s3.BucketVersioning" in driver.problems(BUCKET, {"versioning": {"enabled": True}})["versioning"]


def test_a_document_given_as_an_object_becomes_text(driver: Driver) -> None:
    checked = driver.checked(ROLE, {"assumeRolePolicy": {"Version": "2012-10-17"}})
    assert json.loads(str(checked["assumeRolePolicy"])) == {"Version": "2012-10-17"}
    assert driver.checked(ROLE, {"assumeRolePolicy": {"Version": UNKNOWN}})["assumeRolePolicy"] is UNKNOWN


def test_secrets_and_unknowns_pass_check_as_they_came(driver: Driver) -> None:
    container = PropertyValue(
        {"image": PropertyValue(rpc.UNKNOWN), "modelDataUrl": PropertyValue("s3", is_secret=True)}
    )
    news = {"executionRoleArn": PropertyValue.computed(), "primaryContainer": container}
    answer = wait(driver.provider.check(p.CheckRequest(urn(MODEL), {}, news, b"s")))
    assert not answer.failures
    assert (answer.inputs or {})["primaryContainer"] == container
    assert (answer.inputs or {})["executionRoleArn"] is news["executionRoleArn"]


def test_a_preview_returns_the_inputs_and_leaves_out_what_aws_computes(driver: Driver) -> None:
    checked, planned = state(driver, ROLE, {"assumeRolePolicy": TRUST, "tags": {"a": "b"}})
    assert {**planned, "__defaults": checked["__defaults"]} == {**checked, "tagsAll": {"a": "b"}}
    assert "arn" not in planned


def test_nothing_changed_is_no_change(driver: Driver) -> None:
    checked, made = state(driver, CONFIGURATION, {"productionVariants": [VARIANT], "tags": {"a": "b"}})
    answer = driver.diff(CONFIGURATION, {**made, "arn": "x"}, checked)
    assert (answer.changes, kinds(answer), answer.delete_before_replace) == (False, {}, False)


def test_a_made_up_name_lets_the_replacement_come_first(driver: Driver) -> None:
    checked, made = state(driver, CONFIGURATION, {"productionVariants": [VARIANT]})
    answer = driver.diff(
        CONFIGURATION, made, {**checked, "productionVariants": [{**VARIANT, "initialVariantWeight": 0}]}
    )
    assert kinds(answer) == {"productionVariants[0].initialVariantWeight": "UPDATE_REPLACE"}
    assert (answer.replaces, answer.delete_before_replace) == (["productionVariants"], False)


def test_a_fixed_name_must_be_freed_first(driver: Driver) -> None:
    checked, made = state(driver, CONFIGURATION, {"name": "fixed", "productionVariants": [VARIANT]})
    assert driver.diff(CONFIGURATION, made, {**checked, "productionVariants": []}).delete_before_replace


def test_an_unknown_in_place_of_a_replacing_property_replaces(driver: Driver) -> None:
    checked, made = state(driver, MODEL, {"executionRoleArn": "arn:a"})
    assert driver.diff(MODEL, made, {**checked, "executionRoleArn": UNKNOWN}).replaces == ["executionRoleArn"]


def test_an_endpoint_updates_in_place_unless_its_rollback_comes_or_goes(driver: Driver) -> None:
    alarms: Properties = {"autoRollbackConfiguration": {"alarms": [{"alarmName": "a"}]}}
    routing: Properties = {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": 0}
    policy: Properties = {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing}}
    checked, made = state(driver, ENDPOINT, {"endpointConfigName": "a", "deploymentConfig": {**alarms, **policy}})
    assert driver.diff(ENDPOINT, made, {**checked, "endpointConfigName": "b"}).replaces == []
    others: Properties = {**policy, "autoRollbackConfiguration": {"alarms": [{"alarmName": "b"}]}}
    assert driver.diff(ENDPOINT, made, {**checked, "deploymentConfig": others}).replaces == []
    gone = driver.diff(ENDPOINT, made, {**checked, "deploymentConfig": policy})
    assert kinds(gone) == {"deploymentConfig.autoRollbackConfiguration": "DELETE_REPLACE"}
    without = {name: value for name, value in checked.items() if name != "deploymentConfig"}
    assert kinds(driver.diff(ENDPOINT, made, without)) == {"deploymentConfig": "DELETE_REPLACE"}


def test_the_same_document_in_another_spelling_is_no_change(driver: Driver) -> None:
    checked, made = state(driver, ROLE, {"assumeRolePolicy": '{"Version": "2012-10-17", "Statement": []}'})
    assert not driver.diff(
        ROLE, made, {**checked, "assumeRolePolicy": '{"Statement":[],"Version":"2012-10-17"}'}
    ).changes


def test_ignored_changes_are_ignored(driver: Driver) -> None:
    checked, made = state(driver, ROLE, {"assumeRolePolicy": TRUST, "tags": {"a": "b"}})
    changed: Properties = {**checked, "tags": {"a": "c"}, "description": "new"}
    assert sorted(kinds(driver.diff(ROLE, made, changed, ("tags",)))) == ["description"]


def test_default_tags_change_every_resource_and_show_in_tags_all() -> None:
    plain = Driver()
    checked, made = state(plain, ROLE, {"assumeRolePolicy": TRUST, "tags": {"own": "1"}})
    tagged = Driver(defaultTags={"tags": {"team": "ml", "own": "0"}})
    assert kinds(tagged.diff(ROLE, made, checked)) == {"tagsAll.team": "ADD"}
    assert tagged.create(ROLE, checked, preview=True)[1]["tagsAll"] == {"team": "ml", "own": "1"}


def test_another_region_replaces(driver: Driver) -> None:
    checked, made = state(driver, ALARM, {"comparisonOperator": "LessThanThreshold", "evaluationPeriods": 1})
    assert driver.diff(ALARM, {**made, "region": "eu-west-1"}, checked).replaces == ["region"]
    assert driver.diff(ALARM, made, {**checked, "region": "eu-west-1"}).replaces == ["region"]


def test_an_update_preview_keeps_what_aws_computed(driver: Driver) -> None:
    checked, made = state(driver, ROLE, {"assumeRolePolicy": TRUST})
    planned = driver.update(ROLE, "it", {**made, "arn": "arn:it"}, {**checked, "description": "new"}, preview=True)
    assert (planned["arn"], planned["description"]) == ("arn:it", "new")


def test_an_unknown_function_is_named(driver: Driver) -> None:
    with pytest.raises(ProviderError, match="no function aws:ec2/getAmi:getAmi"):
        driver.invoke("aws:ec2/getAmi:getAmi")


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version  # noqa: PLC0415 - the same source, read independently

    schema = wait(AwsProvider().get_schema(p.GetSchemaRequest(0)))
    assert json.loads(schema.schema or "") == {"name": "aws", "version": version("pulumi-aws")}
