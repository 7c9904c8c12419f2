"""The embedded cloud with the inference server itself behind it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cloud_support.helpers import archived, running
from tests.inference_support import artifacts


@pytest.mark.slow
def test_an_endpoint_of_the_inference_server_predicts_as_the_artifact_does(tmp_path: Path) -> None:
    model = artifacts.make(artifacts.transform())
    artifacts.pack(model, tmp_path / "model.tar.gz")
    archive = (tmp_path / "model.tar.gz").read_bytes()
    digest = hashlib.sha256(archive).hexdigest()
    with running(tmp_path / "cloud", serve_command=None) as cloud:
        name = cloud.endpoint(
            cloud.config([{"ModelName": cloud.model({"SAGESTAGE_MODEL_SHA256": digest}, archive=archive)}])
        )
        described = cloud.settle(name)
        assert described["EndpointStatus"] == "InService", described.get("FailureReason")
        instances = artifacts.instances(model.manifest.transform, 5)
        answer = cloud.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name, Body=json.dumps({"instances": instances}), ContentType="application/json"
        )
        told = json.loads(answer["Body"].read())
        np.testing.assert_allclose(told["predictions"], artifacts.answer(model, instances).values, rtol=1e-5, atol=1e-6)
        assert told["model_version"] == digest[:12]
        damaged = cloud.model(archive=archived({"manifest.json": b"{}"}))
        failed = cloud.settle(cloud.endpoint(cloud.config([{"ModelName": damaged}])))
        assert failed["EndpointStatus"] == "Failed"
        assert "error: " in failed["FailureReason"]
