"""Rows and checkpoints in S3, against an AWS on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from tests.training_support.rows import values
from training import checkpoint, chunks, demo, storage
from training.checkpoint import Checkpoint
from training.errors import DataError

BUCKET = "rows-of-mine"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def aws(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "sagestage",
        "AWS_SECRET_ACCESS_KEY": "sagestage",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", region_name="us-east-1", endpoint_url=address).create_bucket(Bucket=BUCKET)


def test_a_prefix_is_read_as_the_files_below_it(address: str, tmp_path: Path) -> None:
    s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=address)
    whole = demo.write(tmp_path / "demo.csv", rows=300)
    header, *lines = whole.read_text().splitlines(keepends=True)
    for number in range(3):
        part = header + "".join(lines[100 * number : 100 * (number + 1)])
        s3.put_object(Bucket=BUCKET, Key=f"demo/part-{number}.csv", Body=part.encode())
    s3.put_object(Bucket=BUCKET, Key="demo/_SUCCESS", Body=b"")
    names = chunks.header(Path(f"s3://{BUCKET}/demo"))
    assert names == demo.HEADER
    far = chunks.read(Path(f"s3://{BUCKET}/demo"), names, tmp_path / "far")
    near = chunks.read(whole, names, tmp_path / "near")
    assert (far.rows, far.texts, far.columns) == (300, near.texts, near.columns)
    np.testing.assert_array_equal(values(far), values(near))


def test_an_object_or_bucket_that_is_gone_is_told_in_one_line() -> None:
    with pytest.raises(DataError, match=rf"s3://{BUCKET}/gone\.csv: no such file") as gone:
        chunks.header(Path(f"s3://{BUCKET}/gone.csv"))
    with pytest.raises(DataError, match=r"s3://no-such-bucket-here/x\.csv: ") as nowhere:
        chunks.header(Path("s3://no-such-bucket-here/x.csv"))
    assert "\n" not in str(gone.value) + str(nowhere.value)


def test_a_checkpoint_in_s3_is_read_as_it_was_written() -> None:
    place = f"s3://{BUCKET}/checkpoints/model.safetensors"
    assert checkpoint.read(place) is None
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    checkpoint.write(place, Checkpoint({"w": weights}, {"epoch": 3, "rate": 0.1}))
    found = checkpoint.read(place)
    assert found is not None
    assert found.figures == {"epoch": 3, "rate": 0.1}
    np.testing.assert_array_equal(found.arrays["w"], weights)
    assert storage.name(Path(place)) == place
