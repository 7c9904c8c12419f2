"""Damaged and hostile archives never get as far as a model."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import save

from inference.contract import artifact
from inference.contract.artifact import GOLDEN, MANIFEST, WEIGHTS, load_directory, unpack
from inference.contract.errors import ArtifactError
from tests.inference_support import artifacts

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    directory = tmp_path_factory.mktemp("model")
    artifacts.pack(artifacts.make(artifacts.transform()), directory / "model.tar.gz")
    unpack(directory / "model.tar.gz", directory / "unpacked")
    return {path.name: path.read_bytes() for path in (directory / "unpacked").iterdir()}


def archive(path: Path, write: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        write(tar)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **attributes: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    tar.addfile(info, io.BytesIO(data))


def read(path: Path, into: Path) -> None:
    unpack(path, into)
    load_directory(into)


@pytest.mark.parametrize("name", ["../manifest.json", "/absolute/manifest.json", "a/manifest.json", "payload.pkl"])
def test_a_member_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    hostile = archive(tmp_path / "model.tar.gz", lambda tar: add(tar, name, b"x"))
    with pytest.raises(ArtifactError, match="unexpected member"):
        unpack(hostile, tmp_path / "out" / "model")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert list((tmp_path / "out" / "model").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    hostile = archive(tmp_path / "model.tar.gz", lambda tar: add(tar, MANIFEST, type=kind, linkname="/etc/passwd"))
    with pytest.raises(ArtifactError, match="unexpected member"):
        unpack(hostile, tmp_path / "out")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "MAX_UNPACKED_BYTES", 100_000)
    hostile = archive(tmp_path / "model.tar.gz", lambda tar: add(tar, WEIGHTS, bytes(10_000_000)))
    assert hostile.stat().st_size < 20_000
    with pytest.raises(ArtifactError, match="more than 100000 bytes"):
        unpack(hostile, tmp_path / "out")
    assert not (tmp_path / "out" / WEIGHTS).exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"not an archive", gzip.compress(b"not a tar", mtime=0), b"\x1f\x8b\x08" + bytes(50)],
    ids=["empty", "text", "no tar", "cut"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.tar.gz").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.tar\.gz"):
        read(tmp_path / "model.tar.gz", tmp_path / "out")


def test_an_archive_without_its_last_byte_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    artifacts.pack(artifacts.make(artifacts.transform()), whole)
    cut = tmp_path / "model.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="not a readable"):
        unpack(cut, tmp_path / "out")


@pytest.mark.parametrize("percent", [1, 30, 60, 90])
def test_a_truncated_archive_is_refused(tmp_path: Path, percent: int) -> None:
    whole = tmp_path / "whole.tar.gz"
    artifacts.pack(artifacts.make(artifacts.transform()), whole)
    data = whole.read_bytes()
    cut = tmp_path / "model.tar.gz"
    cut.write_bytes(data[: len(data) * percent // 100])
    with pytest.raises(ArtifactError):
        read(cut, tmp_path / "out")


FILES = {"manifest": MANIFEST, "weights": WEIGHTS, "golden": GOLDEN}


def unpacked(directory: Path, members: Members, **changes: bytes | None) -> Path:
    """A directory with the members, some of them changed, or left out where the change is None."""
    directory.mkdir()
    for name, data in (members | {FILES[name]: data for name, data in changes.items()}).items():
        if data is not None:
            (directory / name).write_bytes(data)
    return directory


def resigned(members: Members, weights: bytes) -> bytes:
    """The manifest with these weights' digest: what an attacker would write."""
    manifest = orjson.loads(members[MANIFEST])
    manifest["files"][WEIGHTS] = hashlib.sha256(weights).hexdigest()
    return orjson.dumps(manifest)


@pytest.mark.parametrize("name", ["manifest", "weights", "golden"])
def test_a_missing_member_is_named(tmp_path: Path, members: Members, name: str) -> None:
    with pytest.raises(ArtifactError, match=f"no {name}"):
        load_directory(unpacked(tmp_path / "model", members, **{name: None}))


def test_weights_with_another_digest_are_damaged(tmp_path: Path, members: Members) -> None:
    damaged = bytearray(members[WEIGHTS])
    damaged[-1] ^= 1
    with pytest.raises(ArtifactError, match=r"weights\.safetensors has sha256 .* damaged"):
        load_directory(unpacked(tmp_path / "model", members, weights=bytes(damaged)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, members: Members, value: float) -> None:
    weights = dict(artifacts.make(artifacts.transform()).weights)
    weights["layers.1.bias"] = weights["layers.1.bias"].copy()
    weights["layers.1.bias"][3] = value
    data = save(weights)
    with pytest.raises(ArtifactError, match=r"layers\.1\.bias holds NaN or infinity"):
        load_directory(unpacked(tmp_path / "model", members, weights=data, manifest=resigned(members, data)))


def test_weights_of_another_network_are_refused(tmp_path: Path, members: Members) -> None:
    data = save(dict(artifacts.make(artifacts.transform(), hidden=(4,)).weights))
    with pytest.raises(ArtifactError, match="do not fit the network"):
        load_directory(unpacked(tmp_path / "model", members, weights=data, manifest=resigned(members, data)))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"format": 2}', b"null", b"\xff\xfe"])
def test_a_manifest_that_says_nothing_is_refused(tmp_path: Path, members: Members, data: bytes) -> None:
    with pytest.raises(ArtifactError):
        load_directory(unpacked(tmp_path / "model", members, manifest=data))


def test_an_unknown_key_in_the_manifest_is_refused(tmp_path: Path, members: Members) -> None:
    manifest = orjson.loads(members[MANIFEST]) | {"entry_point": "os.system"}
    with pytest.raises(ArtifactError, match="entry_point"):
        load_directory(unpacked(tmp_path / "model", members, manifest=orjson.dumps(manifest)))


def test_unpacking_never_writes_outside_its_directory(tmp_path: Path, members: Members) -> None:
    def write(tar: tarfile.TarFile) -> None:
        for name, data in members.items():
            add(tar, name, data)
        add(tar, "../escaped", b"x")

    with pytest.raises(ArtifactError, match="unexpected member"):
        unpack(archive(tmp_path / "model.tar.gz", write), tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("escaped"))
