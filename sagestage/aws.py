"""boto3 clients of the embedded AWS: dummy keys, no profile, no retries that hide an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage.errors import SagestageError
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.cloud.control import CloudInfo

KEY = "sagestage"


def running_cloud(project: Project, region: str | None = None) -> CloudInfo:
    """The embedded AWS of this project, seen from a region; without one, from its own.

    Raises:
        SagestageError: it does not run.
    """
    from infra.cloud import control

    info = control.status(project.cloud)
    if info is None:
        raise SagestageError("the embedded cloud does not run: start it with `sagestage cloud start`")
    return info if region is None else info.model_copy(update={"region": region})


def client(info: CloudInfo, service: str) -> Any:
    """A boto3 client of one service of the embedded AWS."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=info.region).client(  # type: ignore[call-overload]  # the service is a variable
        service,
        endpoint_url=info.url,
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32, read_timeout=70),
    )


def environment(info: CloudInfo) -> dict[str, str]:
    """What makes any AWS client talk to the embedded cloud."""
    return {
        "AWS_ENDPOINT_URL": info.url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_REGION": info.region,
        "AWS_DEFAULT_REGION": info.region,
        "SAGEMAKER_VALIDATE_ROLE": "false",  # the SDK 3 would ask IAM to simulate policies, which moto does not
    }


def bucket_of(info: CloudInfo) -> str:
    """The bucket that holds the artifacts of rehearsals."""
    return f"sagestage-artifacts-{info.account}-{info.region}"


def upload(info: CloudInfo, archive: Path, key: str) -> str:
    """Put an archive into the embedded S3 (once) and return its URI."""
    s3 = client(info, "s3")
    bucket = bucket_of(info)
    if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    if key not in {found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])}:
        s3.upload_file(str(archive), bucket, key)
        for beside in archive.parent.glob("*.json"):  # the baseline that monitors compare with
            s3.upload_file(str(beside), bucket, f"{key.rpartition('/')[0]}/{beside.name}")
    return f"s3://{bucket}/{key}"
