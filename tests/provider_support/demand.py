"""The project's own demand program in a folder of its own, on a cloud of its own."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from sagestage import engines
from tests.cloud_support.helpers import BUCKET, IMAGE, Cloud, archived
from tests.provider_support.real_cli import ROOT


def demand_project(cloud: Cloud) -> Path:
    """Its root; the cloud's home is in it."""
    root = cloud.info.home.parents[1]
    shutil.copy(ROOT / "Pulumi.yaml", root)
    shutil.copytree(ROOT / "stacks", root / "stacks", ignore=shutil.ignore_patterns("Pulumi.*.yaml", "__pycache__"))
    (root / "infra").symlink_to(ROOT / "infra")
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    write_stack(root, cloud, "dev", engines.overrides({}, cloud.info.url))
    write_stack(root, cloud, "local", engines.overrides({}, cloud.info.url))
    write_stack(root, cloud, "prod", {"aws:allowedAccountIds": ["444455556666"], "aws:profile": "production"})
    return root


def write_stack(root: Path, cloud: Cloud, stack: str, more: dict[str, Any]) -> None:
    """Write a stack's file."""
    config: dict[str, Any] = {"sagestage:program": "demand", "sagestage:image": IMAGE, "aws:region": "us-east-1"}
    for name in ("champion", "challenger"):
        archive = archived({"manifest.json": name.encode()})
        key = f"models/{name}/{hashlib.sha256(archive).hexdigest()}/model.tar.gz"
        cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=archive)
        config[f"sagestage:{name}"] = f"s3://{BUCKET}/{key}"
    (root / "stacks" / f"Pulumi.{stack}.yaml").write_text(json.dumps({"config": {**config, **more}}))
