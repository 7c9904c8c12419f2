from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.training_support import traffic
from training.errors import ConfigError, DataError
from training.monitor.baseline import load
from training.release import DIGEST_TAG, DIGEST_VARIABLE, Release, release


class SageMaker:
    """Remembers what it is asked to make; describes one endpoint of two variants."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("create_", "update_")):
            raise AttributeError(name)

        def call(**params: Any) -> dict[str, Any]:
            self.made[name] = params
            return {"ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/forecasts/1"}

        return call

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        return {"EndpointName": EndpointName, "EndpointConfigName": "before", "LastDeploymentConfig": {"canary": 1}}

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:  # noqa: N803 - likewise
        variants = [{"VariantName": name, "ModelName": f"old-{name}"} for name in ("champion", "challenger")]
        return {"EndpointConfigArn": EndpointConfigName, "ProductionVariants": variants, "DataCaptureConfig": {"x": 1}}

    def describe_model(self, ModelName: str) -> dict[str, Any]:  # noqa: N803 - likewise
        container = {"Image": "old", "ModelDataUrl": "s3://old", "Environment": {"A": "1", DIGEST_VARIABLE: "old"}}
        return {"ModelName": ModelName, "ExecutionRoleArn": "arn:role", "PrimaryContainer": container}

    def list_tags(self, ResourceArn: str) -> dict[str, Any]:  # noqa: N803 - likewise
        del ResourceArn
        return {"Tags": [{"Key": "sagestage:stack", "Value": "local"}, {"Key": "aws:x", "Value": "y"}]}


@pytest.fixture
def wish(tmp_path: Path) -> Release:
    place = tmp_path / "retrained/output"
    place.mkdir(parents=True)
    (place / "model.tar.gz").write_bytes(b"an archive")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in (("drift.json", traffic.baseline().dump()), ("../evil.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (place / "output.tar.gz").write_bytes(buffer.getvalue())
    models = f"{tmp_path}/models/champion/"
    return Release(
        f"{place}/model.tar.gz", models, "forecasts", "serve:2", approved=True, endpoint="e", variant="champion"
    )


def test_a_model_is_kept_under_its_digest_with_its_baseline_registered_and_rolled_out(
    wish: Release, tmp_path: Path
) -> None:
    sagemaker, said = SageMaker(), []
    assert release(wish, sagemaker, said.append) == 0
    digest = hashlib.sha256(b"an archive").hexdigest()
    place = tmp_path / "models/champion" / digest
    assert (place / "model.tar.gz").read_bytes() == b"an archive"
    assert load(place).sha256 == digest, "the baseline is of the archive that will be served"
    assert sorted(path.name for path in place.iterdir()) == ["drift.json", "model.tar.gz"]
    package = sagemaker.made["create_model_package"]
    assert (package["ModelPackageGroupName"], package["ModelApprovalStatus"]) == ("forecasts", "Approved")
    model = sagemaker.made["create_model"]
    assert model["PrimaryContainer"] == {
        "Image": "serve:2", "ModelDataUrl": f"{place}/model.tar.gz", "Environment": {"A": "1", DIGEST_VARIABLE: digest}
    }  # fmt: skip
    assert {"Key": DIGEST_TAG, "Value": digest} in model["Tags"]
    assert {"Key": "sagestage:stack", "Value": "local"} in model["Tags"], "so that prune finds it"
    config = sagemaker.made["create_endpoint_config"]
    assert [one["ModelName"] for one in config["ProductionVariants"]] == [model["ModelName"], "old-challenger"]
    assert config["DataCaptureConfig"] == {"x": 1}
    assert sagemaker.made["update_endpoint"]["DeploymentConfig"] == {"canary": 1}, "as it was last deployed"


def test_a_model_that_waits_for_approval_is_not_rolled_out(wish: Release) -> None:
    sagemaker, said = SageMaker(), []
    waiting = Release(wish.model, wish.home, wish.group, wish.image, approved=False, endpoint="", variant="champion")
    release(waiting, sagemaker, said.append)
    assert sagemaker.made["create_model_package"]["ModelApprovalStatus"] == "PendingManualApproval"
    assert "update_endpoint" not in sagemaker.made
    assert any("waits for approval" in line for line in said)


def test_what_is_missing_is_said(wish: Release, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lacks the variable SAGESTAGE_MODEL"):
        Release.of({})
    other = Release(str(tmp_path / "no/model.tar.gz"), wish.home, "g", "i", approved=True, endpoint="", variant="v")
    with pytest.raises(DataError, match="did the training step succeed"):
        release(other, SageMaker(), print)
    stranger = Release(wish.model, wish.home, "g", "i", approved=True, endpoint="e", variant="stranger")
    with pytest.raises(ConfigError, match="no variant 'stranger', only champion, challenger"):
        release(stranger, SageMaker(), print)
