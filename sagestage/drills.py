"""Models that are broken on purpose: a good archive, made late, failing or wrong."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from safetensors.numpy import load, save

MEMBER = "drill.json"
"""What hosting looks for (infra.cloud.drill)."""
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
DELAY_S = 0.15
"""Three times the p95 that the demand stack allows."""


@dataclass(frozen=True)
class Kind:
    """A way to be broken, and what is to stop it."""

    name: str
    says: str
    caught_by: str
    fault: Mapping[str, float] | None


KINDS = (
    Kind("late", f"answers {DELAY_S * 1000:.0f} ms late", "the latency alarm", {"delay_s": DELAY_S}),
    Kind("failing", "answers every second request with an error", "the error alarm", {"errors": 0.5}),
    Kind("wrong", "has wrong weights", "its golden rows, before it gets any traffic", None),
)


def broken(archive: Path, kind: Kind, into: Path) -> tuple[Path, str]:
    """A broken copy of an archive in the folder `into`, and its object key, which carries its digest."""
    members = _read(archive)
    if kind.fault is None:
        weights = {name: np.flip(array).copy() for name, array in load(members[WEIGHTS]).items()}
        members[WEIGHTS] = save(weights)
        manifest = orjson.loads(members[MANIFEST])
        manifest["files"][WEIGHTS] = hashlib.sha256(members[WEIGHTS]).hexdigest()
        members[MANIFEST] = orjson.dumps(manifest)
    else:
        members[MEMBER] = orjson.dumps(dict(kind.fault))
    body = _written(members)
    digest = hashlib.sha256(body).hexdigest()
    key = f"models/{kind.name}/{digest}/model.tar.gz"
    place = into / key
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body)
    return place, key


def _read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: _content(tar, member) for member in tar if member.isfile()}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    found = tar.extractfile(member)
    return b"" if found is None else found.read()


def _written(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
