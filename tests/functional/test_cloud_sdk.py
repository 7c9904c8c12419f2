"""The SDK's resource classes (sagemaker-core) drive the embedded cloud unchanged, from a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cloud_support.helpers import BUCKET, IMAGE, archived, running

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json
import sys

from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant

image, archive = sys.argv[1:]
role = "arn:aws:iam::123456789012:role/execution"
container = ContainerDefinition(image=image, model_data_url=archive)
Model.create(model_name="core", primary_container=container, execution_role_arn=role)
variant = ProductionVariant(
    variant_name="main", model_name="core", instance_type="ml.m5.large", initial_instance_count=1
)
for name in ("one", "two"):
    EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name="core", endpoint_config_name="one")
endpoint.wait_for_status("InService", poll=1, timeout=60)
answer = json.loads(endpoint.invoke(body=b"hello", content_type="text/plain").body.read())
endpoint.endpoint_config_name = "two"
endpoint.update()
endpoint.wait_for_status("InService", poll=1, timeout=60)
runs, listed = endpoint.endpoint_config_name, [one.endpoint_name for one in Endpoint.get_all(name_contains="core")]
endpoint.delete()
endpoint.wait_for_delete(poll=1, timeout=60)
left = [one.endpoint_name for one in Endpoint.get_all()]
print(json.dumps({"answer": answer["body"], "runs": runs, "listed": listed, "left": left}))
"""


def sdk_python() -> str | None:
    """A Python that has the SDK: it stands in an environment apart, as its pins do not go with ours."""
    for python in sorted(ROOT.glob(".venv*/bin/python")):
        if list(python.parents[1].glob("lib/python3*/site-packages/sagemaker/core")):
            return str(python)
    return None


@pytest.mark.slow
def test_the_sdks_endpoint_is_made_invoked_updated_and_deleted(tmp_path: Path) -> None:
    python = sdk_python()
    if python is None:
        pytest.skip("there is no environment with the SageMaker SDK (extra aws)")
    with running(tmp_path / "cloud") as cloud:
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="m/model.tar.gz", Body=archived({"manifest.json": b"{}"}))
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": cloud.info.url,
            "AWS_ACCESS_KEY_ID": "sagestage",
            "AWS_SECRET_ACCESS_KEY": "sagestage",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        done = subprocess.run(
            [python, "-c", PROGRAM, IMAGE, f"s3://{BUCKET}/m/model.tar.gz"],
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = done.stdout[done.stdout.rindex('{"answer"') :]  # the SDK paints a panel before it
    assert json.loads(said) == {"answer": "hello", "runs": "two", "listed": ["core"], "left": []}
