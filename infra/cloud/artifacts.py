"""Models on disk: model.tar.gz from the embedded S3, unpacked for one variant of one fleet."""

import io
import shutil
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

from infra.cloud.errors import InstanceError
from infra.cloud.moto_app import Moto


def unpack(moto: Moto, artifact: str | None, base_dir: Path) -> None:
    """Make `base_dir/model` with the artifact's files; empty for a model without one.

    Args:
        moto: whose S3 holds the artifact.
        base_dir: what a container sees as /opt/ml; must not have a model yet.
        artifact: `s3://bucket/key` of a gzipped tar, or None.

    Raises:
        InstanceError: no such object, not an archive, or a member that would leave the folder (tarfile's data filter).
    """
    target = base_dir / "model"
    if artifact is None:
        target.mkdir(parents=True)
        return
    address = urlsplit(artifact)
    data = moto.read_object(address.netloc, address.path.lstrip("/"))
    target.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise InstanceError(f"{artifact} is not a model.tar.gz that can be unpacked: {error}") from error
