"""Every type through its whole life against a moto server: create, read, import, change, delete."""

import json
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from infra.provider.catalogue import TYPES
from infra.provider.errors import ProviderError, UnreachableError
from infra.provider.values import Plain, Properties, plain_map
from tests.provider_support.driving import ALARM, BUCKET, CONFIGURATION, ENDPOINT, MODEL, ROLE, Driver

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
READS = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]})
WRITES = READS.replace("Get", "Put")
PULL = READS.replace('"Action": "s3:Get*", "Resource": "*"', '"Principal": "*", "Action": "ecr:Get*"')
TAGS: Properties = {"env": "dev"}
SCALED: Properties = {
    "resourceId": "endpoint/demand/variant/champion",
    "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "serviceNamespace": "sagemaker",
}
LATENCY: Properties = {
    "comparisonOperator": "GreaterThanThreshold",
    "evaluationPeriods": 3,
    "metricName": "ModelLatency",
    "namespace": "AWS/SageMaker",
    "period": 60,
    "extendedStatistic": "p95",
    "threshold": 50_000,
    "dimensions": {"EndpointName": "demand", "VariantName": "champion"},
    "tags": TAGS,
}


def counted(name: str, metric: str) -> Properties:
    """A query for the sum of a metric of the endpoint."""
    stat: Properties = {"metricName": metric, "namespace": "AWS/SageMaker", "period": 60, "stat": "Sum"}
    return {"id": name, "returnData": False, "metric": {**stat, "dimensions": {"EndpointName": "demand"}}}


RATE: Properties = {
    "comparisonOperator": "GreaterThanThreshold",
    "evaluationPeriods": 1,
    "threshold": 1,
    "metricQueries": [
        {"id": "rate", "expression": "100 * errors / all", "returnData": True, "label": "rate"},
        counted("errors", "Invocation5XXErrors"),
        counted("all", "Invocations"),
    ],
}
BLOCK: Properties = {"blockPublicAcls": True, "blockPublicPolicy": True}
EXPIRE: Properties = {"id": "expire", "status": "Enabled", "filter": {"prefix": "c/"}, "expiration": {"days": 30}}
ABORT: Properties = {
    "id": "abort",
    "status": "Enabled",
    "filter": {},
    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
}
AES: Plain = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
KMS: Plain = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}, "bucketKeyEnabled": True}]
CONTAINER: Properties = {
    "image": "a:1",
    "modelDataUrl": "s3://b/k/model.tar.gz",
    "environment": {"modelName": "x", "A": "b"},
}

# type, inputs at first, what is then changed in place ("BUCKET" and "ROLE" stand for what `world` made)
LIVES: list[tuple[str, Properties, Properties]] = [
    (
        ROLE,
        {"assumeRolePolicy": TRUST, "description": "x", "tags": TAGS},
        {"maxSessionDuration": 7200, "tags": {"a": "b"}},
    ),
    (
        ROLE,
        {"assumeRolePolicy": TRUST, "inlinePolicies": [{"name": "in", "policy": READS}]},
        {"inlinePolicies": [{"name": "in", "policy": WRITES}]},
    ),
    ("aws:iam/rolePolicy:RolePolicy", {"role": "ROLE", "policy": READS}, {"policy": WRITES}),
    (
        MODEL,
        {"executionRoleArn": "arn:aws:iam::123456789012:role/ROLE", "primaryContainer": CONTAINER, "tags": TAGS},
        {"tags": {"env": "prod"}},
    ),
    (
        "aws:appautoscaling/target:Target",
        {**SCALED, "minCapacity": 1, "maxCapacity": 4, "tags": TAGS},
        {"minCapacity": 2},
    ),
    (BUCKET, {"forceDestroy": True, "tags": TAGS}, {"tags": {"env": "prod", "more": "1"}}),
    (
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        {"bucket": "BUCKET", "rules": AES},
        {"rules": KMS},
    ),
    (
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        {"bucket": "BUCKET", **BLOCK},
        {"blockPublicPolicy": False},
    ),
    (
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        {"bucket": "BUCKET", "rule": {"objectOwnership": "BucketOwnerEnforced"}},
        {"rule": {"objectOwnership": "ObjectWriter"}},
    ),
    (
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"bucket": "BUCKET", "rules": [EXPIRE]},
        {"rules": [{**EXPIRE, "expiration": {"days": 9}}, ABORT]},
    ),
    (
        "aws:s3/bucketVersioning:BucketVersioning",
        {"bucket": "BUCKET", "versioningConfiguration": {"status": "Enabled"}},
        {"versioningConfiguration": {"status": "Suspended"}},
    ),
    ("aws:s3/bucketPolicy:BucketPolicy", {"bucket": "BUCKET", "policy": READS}, {"policy": WRITES}),
    (
        "aws:sns/topic:Topic",
        {"displayName": "Alerts", "kmsMasterKeyId": "alias/aws/sns", "tags": TAGS},
        {"displayName": "Alarms"},
    ),
    (ALARM, LATENCY, {"threshold": 40_000, "dimensions": {"EndpointName": "demand"}}),
    (ALARM, RATE, {"threshold": 2}),
    (
        "aws:cloudwatch/compositeAlarm:CompositeAlarm",
        {"alarmName": "both", "alarmRule": "ALARM(a)"},
        {"alarmRule": "ALARM(b)"},
    ),
    (
        "aws:kms/key:Key",
        {"description": "data", "enableKeyRotation": True, "tags": TAGS},
        {"enableKeyRotation": False, "description": "x"},
    ),
    ("aws:kms/alias:Alias", {"targetKeyId": "KEY"}, {"targetKeyId": "OTHER"}),
    (
        "aws:ecr/repository:Repository",
        {"forceDelete": True, "tags": TAGS, "imageScanningConfiguration": {"scanOnPush": True}},
        {"imageTagMutability": "IMMUTABLE", "imageScanningConfiguration": {"scanOnPush": False}},
    ),
    (
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        {"repository": "IMAGES", "policy": PULL},
        {"policy": PULL.replace("Get", "Put")},
    ),
    ("aws:cloudwatch/logGroup:LogGroup", {"retentionInDays": 30, "tags": TAGS}, {"retentionInDays": 7}),
    (
        "aws:sns/topicSubscription:TopicSubscription",
        {"topic": "TOPIC", "protocol": "sqs", "endpoint": "arn:aws:sqs:us-east-1:123456789012:q"},
        {"rawMessageDelivery": True},
    ),
    (
        "aws:cloudwatch/dashboard:Dashboard",
        {"dashboardName": "d", "dashboardBody": {"widgets": []}},
        {"dashboardBody": {"widgets": [], "start": "-PT1H"}},
    ),
]


NAMES = [f"{kind.rsplit(':', 1)[-1]}-{number}" for number, (kind, _, _) in enumerate(LIVES)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="module")
def driver(url: str) -> Driver:
    return Driver(url)


@pytest.fixture(scope="module")
def world(driver: Driver) -> dict[str, str]:
    """A bucket and a role for what needs one."""
    role, _ = driver.create(ROLE, driver.checked(ROLE, {"assumeRolePolicy": TRUST}, name="world"))
    bucket, _ = driver.create(BUCKET, driver.checked(BUCKET, {"bucket": "world"}))
    made = {"ROLE": str(role), "BUCKET": str(bucket)}
    for word, kind in (
        ("KEY", "kms/key:Key"),
        ("OTHER", "kms/key:Key"),
        ("IMAGES", "ecr/repository:Repository"),
        ("TOPIC", "sns/topic:Topic"),
    ):
        made[word] = str(driver.create(f"aws:{kind}", driver.checked(f"aws:{kind}", {}, name=word))[0])
    return made


def filled(inputs: Properties, world: dict[str, str]) -> Properties:
    text = json.dumps(inputs)
    for word, value in world.items():
        text = text.replace(word, value)
    parsed: Properties = json.loads(text)
    return parsed


def import_id(kind: str, made: str, state: Properties) -> str:
    return "/".join(str(state[name]) for name in TYPES[kind].key) if "appautoscaling" in kind else made


@pytest.mark.parametrize(("kind", "first", "change"), LIVES, ids=NAMES)
def test_a_resource_lives_as_declared(
    driver: Driver,
    world: dict[str, str],
    request: pytest.FixtureRequest,
    kind: str,
    first: Properties,
    change: Properties,
) -> None:
    if "CompositeAlarm" in kind:
        pytest.skip("moto has no composite alarms; the embedded cloud is to add them")
    name = f"life-{NAMES.index(request.node.callspec.id)}"  # moto remembers the tags of what was deleted
    inputs = driver.checked(kind, filled(first, world), name=name)
    made, state = driver.create(kind, inputs)
    assert made
    computed = TYPES[kind].outputs.keys() | {"tagsAll"} if TYPES[kind].tagging else TYPES[kind].outputs.keys()
    assert computed - state.keys() - {"alarmArns"} == set()
    assert {name: state[name] for name in inputs if name != "__defaults"} == {
        name: value for name, value in inputs.items() if name != "__defaults"
    }
    assert not driver.diff(kind, state, inputs).changes

    read = driver.read(kind, made, state, inputs)
    assert (read.resource_id, plain_map(read.properties)) == (made, state), "a refresh finds no drift"
    assert plain_map(read.inputs) == inputs

    imported = driver.read(kind, import_id(kind, made, state), {}, {})
    assert imported.resource_id == made
    assert driver.check(kind, plain_map(imported.inputs)).failures in (None, []), "what is imported can be declared"

    news = driver.checked(kind, {**filled(first, world), **filled(change, world)}, inputs, name=name)
    assert driver.diff(kind, state, news).replaces == []
    after = driver.update(kind, made, state, news)
    assert not driver.diff(kind, after, news).changes
    again = driver.read(kind, made, after, news)
    assert plain_map(again.properties) == after, "what was written is what is there"

    driver.delete(kind, made, after)
    driver.delete(kind, made, after)
    if "BucketOwnership" not in kind and "Versioning" not in kind:  # moto forgets neither
        assert not driver.read(kind, made, after, news).resource_id


def test_a_change_made_by_somebody_else_is_drift(driver: Driver) -> None:
    inputs = driver.checked(ALARM, LATENCY, name="drifting")
    made, state = driver.create(ALARM, inputs)
    other: Properties = {**LATENCY, "name": str(made), "threshold": 1, "datapointsToAlarm": 2, "tags": {"who": "me"}}
    driver.update(ALARM, str(made), state, driver.checked(ALARM, other))
    read = driver.read(ALARM, str(made), state, inputs)
    found = plain_map(read.properties)
    assert (found["threshold"], found["datapointsToAlarm"], found["tags"]) == (1, 2, {"who": "me"})
    back = driver.diff(ALARM, found, inputs)
    assert {"threshold", "datapointsToAlarm", "tags", "tagsAll"} == set(back.diffs)
    driver.delete(ALARM, str(made), state)


def test_an_endpoint_of_two_variants_runs(driver: Driver, world: dict[str, str]) -> None:
    arn = f"arn:aws:iam::123456789012:role/{world['ROLE']}"
    _, model = driver.create(MODEL, driver.checked(MODEL, {"executionRoleArn": arn, "primaryContainer": CONTAINER}))
    variants: list[Plain] = [
        {
            "variantName": name,
            "modelName": model["name"],
            "initialInstanceCount": 1,
            "instanceType": "ml.m5.large",
            "initialVariantWeight": weight,
        }
        for name, weight in (("champion", 90), ("challenger", 10))
    ]
    given = driver.checked(CONFIGURATION, {"productionVariants": variants, "tags": TAGS})
    _, configuration = driver.create(CONFIGURATION, given)
    inputs = driver.checked(ENDPOINT, {"name": "two", "endpointConfigName": configuration["name"], "tags": TAGS})
    made, state = driver.create(ENDPOINT, inputs)
    assert (made, str(state["arn"]).rsplit("/", 1)[-1]) == ("two", "two")
    assert plain_map(driver.read(ENDPOINT, "two", state, inputs).properties) == state
    driver.delete(ENDPOINT, "two", state)
    assert not driver.read(ENDPOINT, "two", state, inputs).resource_id


def test_a_bucket_with_objects_is_emptied_only_when_asked(driver: Driver, url: str) -> None:
    kept = driver.checked(BUCKET, {"bucket": "full"})
    _, state = driver.create(BUCKET, kept)
    for name in ("a", "b"):
        driver.provider.aws.call("s3", "PutObject", {"Bucket": "full", "Key": name, "Body": b"x"})
    with pytest.raises(ProviderError, match="BucketNotEmpty"):
        driver.delete(BUCKET, "full", state)
    driver.delete(BUCKET, "full", {**state, "forceDestroy": True})
    assert not driver.read(BUCKET, "full", state, kept).resource_id
    assert url


def test_functions_answer(driver: Driver) -> None:
    assert driver.invoke("aws:index/getCallerIdentity:getCallerIdentity")["accountId"] == "123456789012"
    assert driver.invoke("aws:index/getRegion:getRegion")["region"] == "us-east-1"
    assert driver.invoke("aws:index/getPartition:getPartition")["partition"] == "aws"
    found = driver.invoke("aws:iam/getPolicyDocument:getPolicyDocument", statements=[{"actions": ["s3:*"]}])
    assert json.loads(str(found["json"]))["Statement"][0]["Action"] == "s3:*"


def test_a_cloud_that_is_gone_is_told_with_its_address() -> None:
    gone = Driver("http://127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"no answer from sts at http://127.0.0.1:1 .*sagestage cloud start"):
        gone.invoke("aws:index/getCallerIdentity:getCallerIdentity")


def test_neither_profile_nor_environment_of_the_user_matters(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    driver = Driver(url)  # the clients are made after the environment has changed
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://sts.amazonaws.com")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    assert driver.invoke("aws:index/getCallerIdentity:getCallerIdentity")["accountId"] == "123456789012"
