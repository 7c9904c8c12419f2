"""What a plan's models need is looked for, with the calls of boto3, in S3, ECR and IAM as moto has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from sagestage.preflight import MODEL, Found, Need, PreflightError, look, needs, refuse

ACCOUNT = "123456789012"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/serving"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/run"


def model(op: str = "create", **inputs: Any) -> Any:
    return SimpleNamespace(op=op, urn=f"urn:pulumi:p::p::{MODEL}::m", type=MODEL, inputs=inputs)


def trust(service: str) -> str:
    return json.dumps(
        {"Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]}
    )


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        made = boto3.client

        def client(service: str, region: str | None) -> Any:
            return made(service, region_name=region or "us-east-1")  # type: ignore[call-overload]

        client("s3", None).create_bucket(Bucket="models")
        client("s3", None).put_object(Bucket="models", Key="there/model.tar.gz", Body=b"x")
        client("ecr", None).create_repository(repositoryName="serving")
        client("iam", None).create_role(RoleName="run", AssumeRolePolicyDocument=trust("sagemaker.amazonaws.com"))
        client("iam", None).create_role(RoleName="other", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"))
        yield client


def test_what_models_name_outright_is_needed_and_what_comes_of_the_plan_is_not() -> None:
    one = {"image": f"{IMAGE}:1", "modelDataUrl": "s3://models/there/model.tar.gz"}
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    steps = [
        model(primaryContainer=one, executionRoleArn=unknown),
        model("create-replacement", containers=[one, {"image": unknown, "modelDataUrl": object()}]),
        model("same", primaryContainer={"image": "another"}),
        SimpleNamespace(op="create", urn="u", type="aws:iam/role:Role", inputs={}),
    ]
    assert needs(steps) == [Need("archive", one["modelDataUrl"]), Need("image", one["image"])]
    assert needs([model(executionRoleArn=ROLE)]) == [Need("role", ROLE)]


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (Need("archive", "s3://models/there/model.tar.gz"), None),
        (Need("archive", "s3://models/there/"), None),
        (Need("archive", "s3://models/gone/model.tar.gz"), "s3://models/gone/model.tar.gz is not there"),
        (Need("archive", "s3://models/none/"), "s3://models/none/ is an empty prefix"),
        (Need("archive", "s3://nobody/model.tar.gz"), "s3://nobody/model.tar.gz is not there"),
        (Need("image", f"{IMAGE}:1"), f"{IMAGE}:1 is not there (ImageNotFoundException)"),
        (Need("image", IMAGE.replace("serving", "gone")), "is not there (RepositoryNotFoundException)"),
        (Need("image", "python:3.11"), "python:3.11 is in no repository of ECR"),
        (Need("role", ROLE), None),
        (Need("role", f"arn:aws:iam::{ACCOUNT}:role/service/other"), "does not let sagemaker.amazonaws.com assume it"),
        (Need("role", f"arn:aws:iam::{ACCOUNT}:role/gone"), "is not there (NoSuchEntity)"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_made(client: Any, need: Need, said: str | None) -> None:
    found = look([need], client)
    assert found.unseen == ()
    assert len(found.missing) == (said is not None)
    if said is None:
        refuse(found)
        return
    with pytest.raises(PreflightError, match="nothing was done") as caught:
        refuse(found)
    assert said in str(caught.value)
    assert caught.value.exit_code == 7


def test_what_may_not_be_looked_at_is_told_and_refuses_nothing(client: Any) -> None:
    s3 = client("s3", None)
    with Stubber(s3) as stub:
        stub.add_client_error("head_object", "403")
        found = look([Need("archive", "s3://models/there/model.tar.gz")], lambda _service, _region: s3)
    assert found == Found((), ("archive s3://models/there/model.tar.gz could not be looked at: 403",))
    refuse(found)
