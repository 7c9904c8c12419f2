"""What the components around endpoints register, on Pulumi's own mocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra import (
    Alarm,
    Artifacts,
    Async,
    Budget,
    Endpoint,
    Model,
    Network,
    Registry,
    Repository,
    Scaling,
    Schedule,
    Serverless,
    SpecError,
    Topic,
    Variant,
)

Deploy = Callable[..., Any]
ARTIFACT = f"s3://artifacts/models/m/{'e' * 64}/model.tar.gz"
IMAGE = "sagestage-inference:local"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"


def of(monitor: Any, kind: str) -> list[dict[str, Any]]:
    return [one["inputs"] for one in monitor.registered.values() if one["type"].endswith(f":{kind}")]


def one(monitor: Any, kind: str) -> dict[str, Any]:
    (found,) = of(monitor, kind)
    return found


def aws(monitor: Any, kind: str) -> dict[str, Any]:
    (found,) = [one for one in monitor.registered.values() if one["type"] == kind]
    return found


def test_a_topic_lets_this_accounts_alarms_publish_and_no_other(deploy: Deploy) -> None:
    monitor = deploy(lambda: Topic("alerts", emails=["a@b.c"], subscriptions=[("sqs", "arn:aws:sqs:x:1:q")]))
    topic = aws(monitor, "aws:sns/topic:Topic")["inputs"]
    assert topic["name"] == "sagestage-local-alerts"
    statements = json.loads(topic["policy"])["Statement"]
    assert {said["Principal"]["Service"] for said in statements} >= {"cloudwatch.amazonaws.com"}
    assert all(said["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}} for said in statements)
    assert [(said["protocol"], said["endpoint"]) for said in of(monitor, "TopicSubscription")] == [
        ("email", "a@b.c"),
        ("sqs", "arn:aws:sqs:x:1:q"),
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Topic("t", emails=["nobody"]), "emails must hold mail addresses, got 'nobody'"),
        (lambda: Topic("t", subscriptions=[("fax", "1")]), "the protocol must be one of"),
        (lambda: Topic("t", subscriptions=[("sqs", "queue")]), "sqs goes to an ARN, got 'queue'"),
        (lambda: Topic("t", subscriptions=[("https", "http://x")]), "begins with https://"),
        (lambda: Topic("a.b"), "the physical name must match"),
        (lambda: Budget("b", monthly_usd=0, emails=["a@b.c"]), "monthly_usd must be above 0, got 0"),
        (lambda: Budget("b", monthly_usd=5), "it needs emails or a topic"),
        (lambda: Budget("b", monthly_usd=5, emails=["a@b.c"], at_percent=[1, 2, 3, 4, 5]), "at 1 to 5 points, got 6"),
        (lambda: Repository("Upper"), "the physical name must match"),
        (lambda: Repository("r", keep_images=0), "keep_images must be at least 1, got 0"),
        (lambda: Registry("r" * 60), "must have at most 63 characters"),
        (lambda: Artifacts("a_b"), "name must match"),
        (lambda: Artifacts("a", kms_key="k"), "kms_key must be the ARN of a KMS key"),
    ],
)
def test_what_a_service_would_refuse_is_refused_before(deploy: Deploy, make: Callable[[], object], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        deploy(make)
    assert said in str(caught.value)


def test_a_budget_counts_this_stacks_sagemaker_and_tells_by_mail_and_topic(deploy: Deploy) -> None:
    budget = aws(
        deploy(lambda: Budget("b", monthly_usd=250, emails=["a@b.c"], topic="arn:x")), "aws:budgets/budget:Budget"
    )
    inputs = budget["inputs"]
    assert (inputs["limitAmount"], inputs["timeUnit"], inputs["name"]) == ("250", "MONTHLY", "sagestage-local-b")
    assert {"name": "TagKeyValue", "values": ["user:sagestage:stack$local"]} in inputs["costFilters"]
    assert [(said["notificationType"], said["threshold"]) for said in inputs["notifications"]] == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]
    assert all(said["subscriberSnsTopicArns"] == ["arn:x"] for said in inputs["notifications"])


def test_a_repository_scans_keeps_its_tags_and_clears_away(deploy: Deploy) -> None:
    monitor = deploy(lambda: Repository("serving", kms_key=KEY))
    inputs = aws(monitor, "aws:ecr/repository:Repository")["inputs"]
    assert inputs["imageTagMutability"] == "IMMUTABLE"
    assert inputs["imageScanningConfiguration"] == {"scanOnPush": True}
    assert inputs["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
    rules = json.loads(one(monitor, "LifecyclePolicy")["policy"])["rules"]
    assert [rule["rulePriority"] for rule in rules] == [1, 2]
    assert rules[-1]["selection"]["tagStatus"] == "any"


def test_a_registry_is_a_group_that_only_a_rehearsal_may_delete(deploy: Deploy) -> None:
    kind = "aws:sagemaker/modelPackageGroup:ModelPackageGroup"
    assert not aws(deploy(lambda: Registry("demand")), kind)["protect"]
    group = aws(deploy(lambda: Registry("demand", description="hourly"), "prod"), kind)
    assert group["protect"]
    assert group["inputs"]["modelPackageGroupName"] == "sagestage-prod-demand"


def test_an_approved_package_becomes_a_model(deploy: Deploy) -> None:
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/sagestage-local-demand/3"
    monitor = deploy(lambda: Model("m", package=package, image=IMAGE, artifact=ARTIFACT))
    container = aws(monitor, "aws:sagemaker/model:Model")["inputs"]["primaryContainer"]
    assert container == {"modelPackageName": package}
    policy = json.loads(one(monitor, "RolePolicy")["policy"])["Statement"]
    said = {statement["Sid"]: statement["Resource"] for statement in policy}
    assert said["ReadPackage"] == package
    assert said["ReadArtifact"].endswith("models/m/*/model.tar.gz")


def test_the_artifacts_bucket_keeps_old_versions_for_a_while(deploy: Deploy) -> None:
    monitor = deploy(lambda: Artifacts("artifacts", keep_old_days=10))
    assert one(monitor, "BucketVersioning")["versioningConfiguration"] == {"status": "Enabled"}
    (rule,) = one(monitor, "BucketLifecycleConfiguration")["rules"]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 10}
    assert "expiration" not in rule
    assert {"BucketPublicAccessBlock", "BucketPolicy", "BucketServerSideEncryptionConfiguration"} <= {
        found["type"].rpartition(":")[2] for found in monitor.registered.values()
    }


def test_another_network_is_another_model(deploy: Deploy) -> None:
    def program() -> None:
        Model("m", image=IMAGE, artifact=ARTIFACT, network=Network(["subnet-1"], ["sg-1"]))

    monitor = deploy(program)
    model = aws(monitor, "aws:sagemaker/model:Model")
    assert model["inputs"]["vpcConfig"] == {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    assert model["replaceOnChanges"] == ["vpcConfig", "inferenceExecutionConfig"]
    policy = one(monitor, "RolePolicy")["policy"]
    assert "ec2:CreateNetworkInterface" in policy


def test_a_made_role_may_be_bounded(deploy: Deploy) -> None:
    boundary = "arn:aws:iam::123456789012:policy/bound"
    monitor = deploy(
        lambda: Model("m", image=IMAGE, artifact=ARTIFACT, permissions_boundary=boundary, tags={"team": "x"})
    )
    role = one(monitor, "Role")
    assert role["permissionsBoundary"] == boundary
    assert role["tags"]["team"] == "x"


def asynchronous() -> None:
    model = Model("m", image=IMAGE, artifact=ARTIFACT)
    scaling = Scaling(0, 2, backlog_per_instance=3, schedule=[Schedule("night", "rate(1 day)", minimum=1)])
    variant = Variant("main", model, instance="ml.m5.large", scaling=scaling)
    topic = Topic("done")
    Endpoint("e", variants=[variant], asynchronous=Async(success_topic=topic, kms_key=KEY), kms_key=KEY, notify=[topic])


def test_an_asynchronous_endpoint_has_a_bucket_a_waker_a_schedule_and_rights_for_all_of_it(deploy: Deploy) -> None:
    monitor = deploy(asynchronous)
    config = aws(monitor, "aws:sagemaker/endpointConfiguration:EndpointConfiguration")["inputs"]
    assert config["kmsKeyArn"] == KEY
    output = config["asyncInferenceConfig"]["outputConfig"]
    assert output["s3OutputPath"].endswith("/output")
    assert output["kmsKeyId"] == KEY
    assert len(of(monitor, "Policy")) == 2
    assert of(monitor, "ScheduledAction")[0]["scalableTargetAction"] == {"minCapacity": 1}
    wake = [alarm for alarm in of(monitor, "MetricAlarm") if alarm["name"].endswith("-wake")]
    assert wake[0]["alarmActions"][0].startswith("arn:")
    policy = json.loads(next(said["policy"] for said in of(monitor, "RolePolicy") if "ReadRequests" in said["policy"]))
    rights = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert {"ReadRequests", "WriteAnswers", "UseKeys", "EncryptVolumes", "TellOfAnswers"} <= rights.keys()
    assert rights["EncryptVolumes"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}


def test_no_right_is_given_on_everything_but_where_aws_knows_no_resources(deploy: Deploy) -> None:
    monitor = deploy(asynchronous)
    everywhere = {
        action
        for said in of(monitor, "RolePolicy")
        for statement in json.loads(said["policy"])["Statement"]
        if statement["Resource"] == "*"
        for action in statement["Action"]
    }
    assert everywhere == {"cloudwatch:PutMetricData"}


def test_a_serverless_endpoint_writes_no_empty_policy_and_no_deployment_block(deploy: Deploy) -> None:
    def program() -> None:
        model = Model("m", image=IMAGE, artifact=ARTIFACT)
        Endpoint("e", variants=[Variant("main", model, serverless=Serverless(1024, 2))], alarms=[Alarm.silence()])

    monitor = deploy(program)
    assert "deploymentConfig" not in aws(monitor, "aws:sagemaker/endpoint:Endpoint")["inputs"]
    assert all(json.loads(said["policy"])["Statement"] for said in of(monitor, "RolePolicy"))


def test_everything_that_takes_tags_carries_the_stacks(deploy: Deploy) -> None:
    def program() -> None:
        asynchronous()
        Budget("b", monthly_usd=5, emails=["a@b.c"])
        Repository("r")
        Registry("g")
        Artifacts("a")

    untagged = {"Policy", "ScheduledAction", "RolePolicy", "TopicSubscription", "LifecyclePolicy", "BucketPolicy"}
    for urn, found in deploy(program).registered.items():
        kind = found["type"].rpartition(":")[2]
        if found["type"].startswith("aws:") and kind not in untagged and not kind.startswith("Bucket"):
            assert found["inputs"]["tags"]["sagestage:stack"] == "local", urn
