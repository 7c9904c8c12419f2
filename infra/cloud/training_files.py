"""A job's /opt/ml: laid out as SageMaker does, filled from the embedded S3, and carried back there."""

import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.cloud.errors import InstanceError
from infra.cloud.moto_app import Moto
from infra.cloud.training_job import Job

_GZIP = "application/x-tar"


def lay_out(base: Path, job: Job, host: str) -> None:
    """Make one host's /opt/ml, without the data.

    input/config/{hyperparameters,inputdataconfig,resourceconfig}.json, model/, output/, checkpoints/ where it has any.
    """
    config = base / "input/config"
    for folder in (config, base / "input/data", base / "model", base / "output/data"):
        folder.mkdir(parents=True, exist_ok=True)
    if "CheckpointConfig" in job.request:
        checkpoints(base).mkdir(exist_ok=True)
    channels = {channel["ChannelName"]: _channel(channel) for channel in job.request.get("InputDataConfig", ())}
    kind = job.request["ResourceConfig"].get("InstanceType", "")
    resources = {
        "current_host": host,
        "current_instance_type": kind,
        "current_group_name": "homogeneousCluster",
        "hosts": job.hosts,
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": job.hosts},
        ],
        "network_interface_name": "eth0",
    }
    for name, content in (
        ("hyperparameters", job.request.get("HyperParameters", {})),
        ("inputdataconfig", channels),
        ("resourceconfig", resources),
    ):
        (config / f"{name}.json").write_text(json.dumps(content))


def _channel(channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"].get("S3DataSource", {})
    return {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
    }


def checkpoints(base: Path) -> Path:
    """Where a host's checkpoints are, whatever the job's LocalPath."""
    return base / "checkpoints"


def download(moto: Moto, job: Job, base: Path, number: int) -> None:
    """Bring a host's share of every channel.

    Raises:
        InstanceError: a channel's address has no objects.
    """
    for channel in job.request.get("InputDataConfig", ()):
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source.get("S3DataType", "S3Prefix") != "S3Prefix":
            raise InstanceError(f"channel {channel['ChannelName']}: only data below an S3 prefix are supported locally")
        bucket, prefix = split(source["S3Uri"])
        keys = moto.keys(bucket, prefix)
        if not keys:
            raise InstanceError(
                f"ClientError: Data download failed: no S3 objects found under S3 URL {source['S3Uri']!r}"
                f" given in input data source of channel {channel['ChannelName']}"
            )
        if source.get("S3DataDistributionType") == "ShardedByS3Key":
            keys = keys[number :: len(job.hosts)]
        below = prefix if prefix.endswith("/") else prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
        fetch(moto, bucket, keys, below, base / "input/data" / channel["ChannelName"])


def fetch(moto: Moto, bucket: str, keys: Sequence[str], below: str, into: Path) -> None:
    """Write objects as files, under their keys less `below`; a key that would leave the folder is refused.

    Raises:
        InstanceError: such a key.
    """
    into.mkdir(parents=True, exist_ok=True)
    for key in keys:
        path = into / key.removeprefix(below)
        if not path.resolve().is_relative_to(into.resolve()):
            raise InstanceError(f"ClientError: Data download failed: the key {key!r} would leave its folder")
        if not key.endswith("/"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(moto.read_object(bucket, key))


def restore(moto: Moto, job: Job, base: Path) -> None:
    """Bring the checkpoints that lie in S3."""
    if "CheckpointConfig" in job.request:
        bucket, prefix = split(job.request["CheckpointConfig"]["S3Uri"])
        below = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        fetch(moto, bucket, moto.keys(bucket, below), below, checkpoints(base))


def keep(moto: Moto, job: Job, base: Path, known: dict[str, tuple[int, int]]) -> None:
    """Carry checkpoints that are new or changed to S3; `known` is what was carried, by path: size and time; updated."""
    if "CheckpointConfig" not in job.request:
        return
    bucket, prefix = split(job.request["CheckpointConfig"]["S3Uri"])
    for path in sorted(checkpoints(base).rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue  # being written
        name = path.relative_to(checkpoints(base)).as_posix()
        found = path.stat()
        if known.get(name) != (found.st_size, found.st_mtime_ns):
            key = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            moto.write_object(bucket, key, path.read_bytes(), "application/octet-stream")
            known[name] = (found.st_size, found.st_mtime_ns)


def upload(moto: Moto, job: Job, bases: Sequence[Path]) -> str | None:
    """Carry model/ and output/data of all hosts to S3, as SageMaker packs them; the model's address, None without one.

    Raises:
        InstanceError: the bucket is not there.
    """
    bucket, prefix = split(job.request["OutputDataConfig"]["S3OutputPath"])
    place = f"{prefix.rstrip('/')}/{job.name}/output".lstrip("/")
    made: dict[str, bytes] = {}
    for name, folder in (("model.tar.gz", "model"), ("output.tar.gz", "output/data")):
        if packed := _pack([base / folder for base in bases]):
            made[name] = packed
    try:
        for name, body in made.items():
            moto.write_object(bucket, f"{place}/{name}", body, _GZIP)
    except Exception as error:  # moto's own: the bucket is not there, or its policy denies it
        raise InstanceError(f"ClientError: Artifact upload failed: s3://{bucket}/{place}: {error}") from error
    return f"s3://{bucket}/{place}/model.tar.gz" if "model.tar.gz" in made else None


def _pack(folders: Sequence[Path]) -> bytes | None:
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    if not files:
        return None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, path in sorted(files.items()):
            archive.add(path, name, recursive=False)
    return buffer.getvalue()


def clear(base: Path) -> None:
    """What a machine that was taken back leaves to the next one: nothing."""
    shutil.rmtree(base, ignore_errors=True)


def failure(base: Path) -> str:
    """What the container says of its failure."""
    try:
        return (base / "output/failure").read_text(errors="replace").strip()
    except OSError:
        return ""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    address = urlsplit(uri)
    return address.netloc, address.path.lstrip("/")
