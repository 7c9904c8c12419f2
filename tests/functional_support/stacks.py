"""What the functional tests of whole stacks share: a project of its own that deploys to a cloud of its own."""

from __future__ import annotations

import hashlib
import shutil
import string
import warnings
from pathlib import Path
from typing import Any

import pulumi_aws as aws

from infra.engine import Engine, Result
from infra.names import LOCAL
from infra.provider import AwsProvider
from infra.prune import Orphans, prune
from tests.cloud_support.helpers import BUCKET, IMAGE, Cloud, archived

with warnings.catch_warnings():
    # pulumi-aws warns of its own old S3 names when they are loaded, and warnings are errors here: load them now
    warnings.simplefilter("ignore", DeprecationWarning)
    _ = aws.s3.Bucket

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """A project of its own whose local stack deploys to a cloud of its own.

    `hosting` is what the stack's configuration says of it; nothing by default.
    """

    def __init__(self, root: Path, cloud: Cloud, region: str = "us-east-1", hosting: str = "") -> None:
        self.root, self.cloud, self.region, self.hosting = root, cloud, region, hosting
        shutil.copy(ROOT / "Pulumi.yaml", root)
        shutil.copytree(ROOT / "stacks", root / "stacks", ignore=shutil.ignore_patterns("__pycache__"))
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        self.artifacts = {name: self.upload(name, b"1") for name in ("champion", "challenger")}
        self.configure()

    def upload(self, name: str, content: bytes) -> str:
        archive = archived({"manifest.json": content})
        key = f"models/{name}/{hashlib.sha256(archive).hexdigest()}/model.tar.gz"
        self.cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archive)
        return f"s3://{BUCKET}/{key}"

    def configure(self) -> None:
        """Fill in the local stack's template, as `sagestage` does."""
        template = string.Template((self.root / "stacks" / "local.template.yaml").read_text())
        values = {"url": self.cloud.info.url, "region": "us-east-1", "image": IMAGE, **self.artifacts}
        text = template.substitute(values)
        if self.hosting:
            text = text.replace("config:\n", f"config:\n  sagestage:hosting: {self.hosting}\n", 1)
        (self.root / "stacks" / "Pulumi.local.yaml").write_text(text)

    def engine(self) -> Engine:
        return Engine(root=self.root, stack=LOCAL, providers={"aws": AwsProvider})

    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def client(self, service: str) -> Any:
        """A client of the region that the stack is in."""
        return self.cloud.client(service, self.region)

    def prune(self) -> Orphans:
        return prune(self.sagemaker(), "sagestage", LOCAL)

    def names(self) -> dict[str, set[str]]:
        """What SageMaker has, by kind."""
        client = self.sagemaker()
        return {
            "endpoints": {one["EndpointName"] for one in client.list_endpoints()["Endpoints"]},
            "configs": {one["EndpointConfigName"] for one in client.list_endpoint_configs()["EndpointConfigs"]},
            "models": {one["ModelName"] for one in client.list_models()["Models"]},
        }


def changed(result: Result) -> dict[str, list[str]]:
    """Operation to the types of the AWS resources that it was done to."""
    found: dict[str, list[str]] = {}
    for step in result.steps:
        if step.op != "same" and step.type.startswith("aws:"):
            found.setdefault(str(step.op), []).append(step.type.rpartition(":")[2])
    return {op: sorted(types) for op, types in found.items()}
