"""Deployments that take time, fail, roll back or are refused at first, told by a scripted AWS."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.provider.aws import Aws
from infra.provider.config import Settings
from infra.provider.errors import AwsError, CancelledError, DeploymentError, ProviderError
from infra.provider.iam import ROLE
from infra.provider.sagemaker import ENDPOINT, MODEL
from infra.provider.state import after_create
from infra.provider.values import Properties
from infra.provider.waiting import BUSY_PATIENCE_S, ROLE_PATIENCE_S, Done, Failed, Wait, endpoint_verdict, retry_after_s
from tests.provider_support.driving import Script

SETTINGS = Settings("us-east-1", "a", "b", {"sagemaker": "http://127.0.0.1:1", "iam": "http://127.0.0.1:1"})
WANTED: Properties = {"name": "demand", "endpointConfigName": "new"}


class Time:
    """A clock that pauses move on."""

    def __init__(self) -> None:
        self.now = 0.0

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return False


def connected(script: Script) -> tuple[Aws, Time]:
    time = Time()
    return Aws(SETTINGS, client=script, clock=lambda: time.now, pause=time.pause), time


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Op")


GONE = refusal("ValidationException", "Could not find endpoint.")


def described(status: str, configuration: str = "new", **more: str) -> dict[str, Any]:
    return {"EndpointName": "demand", "EndpointStatus": status, "EndpointConfigName": configuration, **more}


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
def test_an_endpoint_on_its_way_is_waited_for(status: str) -> None:
    assert endpoint_verdict(described(status), "new") == Wait()


def test_in_service_counts_only_with_the_desired_configuration() -> None:
    assert endpoint_verdict(described("InService"), "new") == Done()
    verdict = endpoint_verdict(described("InService", "old", FailureReason="alarm p95 fired"), "new")
    assert isinstance(verdict, Failed)
    assert verdict.reason == "rolled back: it runs the configuration old, not new: alarm p95 fired"


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "UpdateRollbackFailed"])
def test_every_other_end_is_a_failure_with_the_reason(status: str) -> None:
    assert endpoint_verdict(described(status, FailureReason="no ping"), "new") == Failed(f"status {status}: no ping")


def test_creation_waits_until_in_service() -> None:
    script = Script(
        CreateEndpoint={}, DescribeEndpoint=[described("Creating"), described("Creating"), described("InService")]
    )
    aws, time = connected(script)
    assert ENDPOINT.make(aws, WANTED, {}, 0) == "demand"
    assert script.operations.count("DescribeEndpoint") == 3
    assert time.now > 0


def test_a_failed_creation_tells_the_reason_and_leaves_no_endpoint() -> None:
    failed = described("Failed", FailureReason="The primary container did not pass the ping health check.")
    script = Script(CreateEndpoint={}, DescribeEndpoint=[failed, GONE], DeleteEndpoint={})
    with pytest.raises(DeploymentError, match="endpoint demand: status Failed: The primary container"):
        ENDPOINT.make(connected(script)[0], WANTED, {}, 0)
    assert script.operations == ["CreateEndpoint", "DescribeEndpoint", "DeleteEndpoint", "DescribeEndpoint"]


def test_a_creation_that_never_ends_is_given_up_at_the_deadline() -> None:
    script: Script = Script(
        CreateEndpoint={},
        DescribeEndpoint=lambda _: GONE if "DeleteEndpoint" in script.operations else described("Creating"),
        DeleteEndpoint={},
    )
    aws, time = connected(script)
    with pytest.raises(DeploymentError, match="not settled within 30 s"):
        ENDPOINT.make(aws, WANTED, {}, 30)
    assert 30 <= time.now < 40


def test_an_update_that_is_rolled_back_fails() -> None:
    olds: Properties = {"name": "demand", "endpointConfigName": "old"}
    rolled_back = [described("Updating", "old"), described("RollingBack", "old"), described("InService", "old")]
    script = Script(UpdateEndpoint={}, DescribeEndpoint=[described("InService", "old"), *rolled_back])
    with pytest.raises(DeploymentError, match="rolled back: it runs the configuration old, not new"):
        ENDPOINT.change(connected(script)[0], "demand", olds, WANTED, 0)


def test_an_update_sends_name_configuration_and_policy() -> None:
    olds: Properties = {"name": "demand", "endpointConfigName": "old"}
    news: Properties = {**WANTED, "deploymentConfig": {"autoRollbackConfiguration": {"alarms": [{"alarmName": "a"}]}}}
    script = Script(UpdateEndpoint={}, DescribeEndpoint=[described("InService", "old"), described("InService")])
    ENDPOINT.change(connected(script)[0], "demand", olds, news, 0)
    assert script.calls[1] == (
        "UpdateEndpoint",
        {
            "EndpointName": "demand",
            "EndpointConfigName": "new",
            "DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}},
        },
    )


def test_an_update_that_is_still_under_way_is_waited_for_and_not_sent_again() -> None:
    olds: Properties = {"name": "demand", "endpointConfigName": "old"}
    script = Script(DescribeEndpoint=[described("Updating", "old"), described("InService")])
    ENDPOINT.change(connected(script)[0], "demand", olds, WANTED, 0)
    assert script.operations == ["DescribeEndpoint", "DescribeEndpoint"]


BUSY = refusal("ValidationException", 'Cannot update in-progress endpoint "arn:aws:sagemaker:::endpoint/demand".')


def test_an_endpoint_that_autoscaling_resizes_between_look_and_call_is_waited_for() -> None:
    olds: Properties = {"name": "demand", "endpointConfigName": "old"}
    script = Script(
        UpdateEndpoint=[BUSY, BUSY, {}], DescribeEndpoint=[described("InService", "old"), described("InService")]
    )
    ENDPOINT.change(connected(script)[0], "demand", olds, WANTED, 0)
    assert script.operations == ["DescribeEndpoint", *["UpdateEndpoint"] * 3, "DescribeEndpoint"]
    script = Script(DeleteEndpoint=[BUSY, {}], DescribeEndpoint=GONE)
    ENDPOINT.end(connected(script)[0], "demand", WANTED, 0)
    assert script.operations == ["DeleteEndpoint", "DeleteEndpoint", "DescribeEndpoint"]


def test_an_endpoint_that_stays_busy_is_given_up_with_the_words_of_aws() -> None:
    script = Script(UpdateEndpoint=BUSY, DescribeEndpoint=described("InService", "old"))
    aws, time = connected(script)
    with pytest.raises(AwsError, match="Cannot update in-progress endpoint"):
        ENDPOINT.change(aws, "demand", {"name": "demand", "endpointConfigName": "old"}, WANTED, 0)
    assert BUSY_PATIENCE_S <= time.now < BUSY_PATIENCE_S + 5


def test_an_endpoint_whose_creation_was_interrupted_is_found_once_it_is_ready() -> None:
    script = Script(DescribeEndpoint=[described("Creating"), described("Creating"), described("InService")])
    assert ENDPOINT.recover(connected(script)[0], WANTED, 0) == "demand"
    assert ENDPOINT.recover(connected(Script(DescribeEndpoint=GONE))[0], WANTED, 0) == ""
    failed = Script(DescribeEndpoint=[described("Failed"), described("Failed"), GONE], DeleteEndpoint={})
    assert ENDPOINT.recover(connected(failed)[0], WANTED, 0) == ""
    assert "DeleteEndpoint" in failed.operations


def test_an_endpoint_whose_policy_alone_changes_is_not_deployed_again() -> None:
    script = Script(DescribeEndpoint=described("InService"))
    ENDPOINT.change(connected(script)[0], "demand", WANTED, {**WANTED, "deploymentConfig": {}}, 0)
    assert script.operations == ["DescribeEndpoint"]


def test_deletion_waits_until_the_endpoint_is_gone_and_forgives_one_that_was() -> None:
    script = Script(DeleteEndpoint={}, DescribeEndpoint=[described("Deleting"), GONE])
    ENDPOINT.end(connected(script)[0], "demand", WANTED, 0)
    ENDPOINT.end(connected(Script(DeleteEndpoint=GONE, DescribeEndpoint=GONE))[0], "demand", WANTED, 0)


def test_a_role_that_is_not_known_yet_is_waited_for_within_bounds() -> None:
    pending = refusal("ValidationException", "Could not assume role arn:aws:iam::1:role/r. Ensure it exists.")
    script = Script(CreateModel=[pending, pending, {}])
    aws, time = connected(script)
    MODEL.make(aws, {"name": "m", "executionRoleArn": "arn:aws:iam::1:role/rrrrrrrrrr"}, {}, 0)
    assert len(script.calls) == 3
    aws, time = connected(Script(CreateModel=pending))
    with pytest.raises(AwsError, match="Could not assume role"):
        MODEL.make(aws, {"name": "m", "executionRoleArn": "arn:aws:iam::1:role/rrrrrrrrrr"}, {}, 0)
    assert ROLE_PATIENCE_S <= time.now < ROLE_PATIENCE_S + 5


def test_only_what_passes_by_itself_is_repeated() -> None:
    assert retry_after_s(AwsError("s", "o", "ThrottlingException", "Rate exceeded"), 0, 0) is not None
    assert retry_after_s(AwsError("s", "o", "ThrottlingException", "Rate exceeded"), 0, 31) is None
    assert retry_after_s(AwsError("s", "o", "500", "oops"), 0, 0) is None
    assert retry_after_s(AwsError("s", "o", "AccessDenied", "no"), 0, 0) is None


def test_a_stopped_provider_waits_no_longer() -> None:
    aws = Aws(SETTINGS, client=Script(CreateEndpoint={}, DescribeEndpoint=described("Creating")))
    aws.cancel()
    with pytest.raises(CancelledError, match="run the same command again"):
        ENDPOINT.make(aws, WANTED, {}, 0)


def test_what_cannot_be_read_after_it_was_made_is_removed_again() -> None:
    script = Script(CreateRole={}, GetRole=refusal("InternalFailure", "oops"), DeleteRole={})
    with pytest.raises(ProviderError, match="iam GetRole: InternalFailure: oops"):
        after_create(connected(script)[0], ROLE, {"name": "r", "assumeRolePolicy": "{}"}, {}, 0)
    assert script.operations == ["CreateRole", "GetRole", "DeleteRole"]


@pytest.mark.parametrize(
    ("code", "message", "missing"),
    [
        ("NoSuchEntity", "x", True),
        ("NoSuchBucket", "x", True),
        ("404", "Not Found", True),
        ("ResourceNotFound", "x", True),
        ("ObjectNotFoundException", "x", True),
        ("ValidationException", 'Could not find model "m".', True),
        ("ValidationException", "1 validation error detected", False),
        ("AccessDenied", "x", False),
    ],
)
def test_each_service_says_missing_in_its_own_way(code: str, message: str, missing: bool) -> None:  # noqa: FBT001 - a table
    assert AwsError("s", "o", code, message).missing is missing
