"""model.tar.gz: the manifest, the weights and golden rows, each with its digest.

The archive is reproducible: the same content gives the same bytes, hence the same sha256, which names the model
everywhere (in its key, its tag, its answers). Three members or four, no directories:

    manifest.json         schema, fitted state, network, metrics, versions, and the sha256 of the other two
    weights.safetensors   float32, named as NetworkSpec says (or int8 with scales: quantisation.py)
    golden.json           raw requests and the answers that they must get
    program.pt2           only for a model that torch.export made: its graph and tensors, cleaned (program.py)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from inference.contract import program as programs
from inference.contract.errors import ArtifactError
from inference.contract.golden import Golden, Tolerance, replay
from inference.contract.network import NetworkSpec, Single, forward
from inference.contract.quantisation import expand, shrink
from inference.contract.schema import Floats, Frozen
from inference.contract.transform import Transform

__all__ = ["Artifact", "Golden", "Manifest", "Tolerance", "replay"]

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
GOLDEN = "golden.json"
PROGRAM = "program.pt2"
MEMBERS = (MANIFEST, WEIGHTS, GOLDEN)
"""What every model has; a program only a model that torch.export made."""
FORMAT = 1  # Manifest.format says the same to pydantic
MAX_UNPACKED_BYTES = 4 * 2**30
"""An archive that unpacks to more is taken for a bomb; a NetworkSpec model is megabytes."""


class Manifest(Frozen):
    """What a model is. `files` are the sha256 of the other members; `rows` counts each part of the data.

    `program` says what computes a model of the user's own: "python" is code that the server is told, and the weights
    are what that code wants; "export" is a graph of torch.export that the archive carries with its tensors. `network`
    then only says how many numbers go in and out.
    """

    format: Literal[1] = 1
    name: str
    transform: Transform
    network: NetworkSpec
    metrics: dict[str, float]
    rows: dict[str, int]
    trained_until: str | None = None
    tolerance: Tolerance = Tolerance()
    quantisation: Literal["int8"] | None = None
    program: Literal["network", "python", "export"] = "network"
    versions: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A model that was read and checked; `program` holds the cleaned torch.export file, where there is one."""

    manifest: Manifest
    weights: Mapping[str, Single]
    golden: Golden
    program: bytes | None = None

    def forward(self, features: Single) -> Floats:
        """Raw outputs by numpy, for features of shape (rows, features)."""
        return forward(self.manifest.network, self.weights, features)


def sha256(path: Path) -> str:
    """The file's sha256, 64 hex digits, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key(name: str, digest: str) -> str:
    """The object key of an artifact: a new content is a new key, so a deployment can tell that the model changed."""
    return f"models/{name}/{digest}/model.tar.gz"


def pack(
    path: Path,
    manifest: Manifest,
    weights: Mapping[str, Single],
    golden: Golden,
    predict: Callable[[Single], Floats] | None = None,
    *,
    program: bytes | None = None,
) -> str:
    """Write the archive, whole or not at all, and return its sha256.

    `predict` computes the raw outputs of a model whose program is "python" or "export"; `program` is the torch.export
    file of the latter, which is cleaned.

    Raises:
        ArtifactError: the weights do not fit the network, the program needs what is refused, or the model does not give
            its golden answers.
    """
    _check(manifest, weights)
    stored = shrink(weights) if manifest.quantisation == "int8" else dict(weights)
    content = {WEIGHTS: save(stored), GOLDEN: _json(golden)}
    if (program is not None) != (manifest.program == "export"):
        raise ArtifactError(
            f'a manifest whose program is "export" goes with a torch.export file; it is {manifest.program!r}'
        )
    if program is not None:
        content[PROGRAM] = programs.clean(program)
    manifest = manifest.model_copy(
        update={"files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}}
    )
    replay(Artifact(manifest, expand(stored) if manifest.quantisation == "int8" else weights, golden), predict)
    content[MANIFEST] = _json(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(_archive(content))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return sha256(path)


def unpack(archive: Path, into: Path) -> None:
    """Unpack the members into a directory, which is made; anything but the members is refused.

    Raises:
        ArtifactError: not a readable archive, or it holds links, paths, other files or too many bytes.
    """
    into.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(archive) as packed, tarfile.open(fileobj=packed, mode="r:") as tar:
            total = 0
            for member in tar:
                total += member.size
                if member.name not in (*MEMBERS, PROGRAM) or not member.isreg():
                    raise ArtifactError(f"{archive}: unexpected member {member.name!r}; expected {', '.join(MEMBERS)}")
                if total > MAX_UNPACKED_BYTES:
                    raise ArtifactError(f"{archive}: unpacks to more than {MAX_UNPACKED_BYTES} bytes: refused")
                source = tar.extractfile(member)  # a regular file of a known name: nothing but its bytes is taken
                if source is not None:
                    with (into / member.name).open("wb") as target:
                        shutil.copyfileobj(source, target)
            while rest := packed.read(1 << 20):  # to the end, where gzip keeps the checksum: a cut archive is noticed
                if rest.strip(b"\0"):
                    raise ArtifactError(f"{archive}: something follows the last member: refused")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ArtifactError(f"{archive}: not a readable model.tar.gz ({error}): package the model again") from error


def load_directory(directory: Path) -> Artifact:
    """Read and check an unpacked model.

    Raises:
        ArtifactError: a member is missing or damaged, has another digest, or does not fit the others.
    """
    try:
        manifest, content = _read(directory)
        golden = Golden.model_validate_json(content[GOLDEN])
        weights = _weights(content[WEIGHTS], manifest)
    except FileNotFoundError as error:
        raise ArtifactError(f"{directory}: no {Path(error.filename).name}: not an unpacked model.tar.gz") from None
    except OSError as error:
        raise ArtifactError(f"{directory}: cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"{directory}: {MANIFEST} is not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{directory}: {error.title} is not valid at {where}: {first['msg']}") from None
    except SafetensorError as error:
        raise ArtifactError(f"{directory}: {WEIGHTS} is not readable: {error}") from None
    _check(manifest, weights)
    if (features := len(manifest.transform.feature_names)) != manifest.network.inputs:
        raise ArtifactError(f"{directory}: the transform makes {features} features, the network takes others")
    program = programs.clean(content[PROGRAM]) if PROGRAM in content else None
    return Artifact(manifest, weights, golden, program)


def _read(directory: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and the bytes of the other members, whose digests are those of the manifest."""
    raw = orjson.loads((directory / MANIFEST).read_bytes())
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise ArtifactError(f"{directory}: manifest format {raw.get('format')!r}; this version reads {FORMAT}")
    manifest = Manifest.model_validate(raw)
    content = {}
    for name in (WEIGHTS, GOLDEN, *((PROGRAM,) if manifest.program == "export" else ())):
        content[name] = (directory / name).read_bytes()
        if (actual := hashlib.sha256(content[name]).hexdigest()) != manifest.files.get(name):
            raise ArtifactError(f"{directory}: {name} has sha256 {actual}, the manifest says another: damaged")
    return manifest, content


def _check(manifest: Manifest, weights: Mapping[str, Single]) -> None:
    """Raise ArtifactError unless the weights are finite and, for a network, fit it."""
    if manifest.program == "network":
        manifest.network.check(weights)
    elif odd := [name for name, array in weights.items() if not np.isfinite(array).all()]:
        raise ArtifactError(f"weight {odd[0]} holds NaN or infinity: train again or take an earlier artifact")


def _weights(content: bytes, manifest: Manifest) -> Mapping[str, Single]:
    stored = load(content)
    return expand(stored) if manifest.quantisation == "int8" else stored


def _json(model: Frozen) -> bytes:
    return orjson.dumps(model.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _archive(content: Mapping[str, bytes]) -> bytes:
    """A gzipped tar with no times, owners or names of this machine."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (*MEMBERS, PROGRAM):
            if name not in content:
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(content[name]))
    return buffer.getvalue()
