"""A model that is ready to be asked: read, checked, and given a predictor."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference import predictors
from inference.contract.artifact import MANIFEST, Artifact, load_directory, replay, sha256, unpack
from inference.contract.errors import ArtifactError, InputError
from inference.contract.network import Single
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Rows, finite
from inference.predictors import Predictor, entry
from inference.settings import Settings

VERSION_DIGITS = 12
MODEL_OVERHEAD_BYTES = 1 * 2**20
"""A model's schema, reader, batcher and threads, roughly."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An artifact, the reader of its rows, and what computes.

    `version` is the first 12 hex digits of the artifact's sha256.
    """

    version: str
    artifact: Artifact
    reader: RecordReader
    predictor: Predictor

    @property
    def inline_rows(self) -> int:
        """The largest batch that may be computed on the event loop."""
        return self.predictor.inline_rows

    @property
    def lanes(self) -> int:
        """How many batches may be computed at a time."""
        return self.predictor.lanes

    @property
    def memory_bytes(self) -> int:
        """What the model takes in a process, roughly: its weights as they are stored and as they are computed with."""
        stored = sum(weight.nbytes for weight in self.artifact.weights.values()) + len(self.artifact.program or b"")
        return 3 * stored + MODEL_OVERHEAD_BYTES

    def read(self, instances: Sequence[Any]) -> Rows:
        """Typed rows of JSON values. Raises InputError when one does not fit the schema."""
        return self.reader.read(instances)

    def features(self, rows: Rows) -> Single:
        """The transform's features of the rows.

        Raises:
            InputError: a row lacks the history that it needs, or a value overflows float32.
        """
        transform = self.artifact.manifest.transform
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below, with its row
            features = transform.apply(rows).matrix
        if not finite(features):
            row, column = (int(index) for index in np.argwhere(~np.isfinite(features))[0])
            raise InputError(f"feature {transform.feature_names[column]!r} is too large for the model", row=row)
        return features

    def answer(self, features: Single) -> Predictions:
        """The predictor's answers. Raises InputError when a row's numbers overflow in the network."""
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = self.predictor(features)
        if not finite(outputs):  # the weights are finite, so it is the row's doing
            row = int(np.argwhere(~np.isfinite(outputs))[0][0])
            raise InputError("is so far from the training data that the network's numbers overflow", row=row)
        return Predictions.of(self.artifact.manifest.transform, outputs)

    def predict(self, rows: Rows) -> Predictions:
        """Transform, predict, read the outputs. Raises InputError as `features` and `answer` do."""
        return self.answer(self.features(rows))

    def verify(self) -> None:
        """Replay the golden rows. Raises ArtifactError when an answer differs or none comes: it must not serve."""
        try:
            replay(self.artifact, self.predictor)
        except ArtifactError:
            raise
        except Exception as error:
            raise ArtifactError(f"predictor {self.predictor.name!r} fails on the golden rows: {error}") from error


def load(path: Path, settings: Settings) -> Model:
    """Read and check the model at `path`: a model.tar.gz, or a directory that holds an unpacked one.

    The golden rows are not replayed yet: `Model.verify` does that.

    Raises:
        ArtifactError: nothing is there, it is damaged or hostile, or not the one that SAGESTAGE_MODEL_SHA256 names.
        StartError: the predictor that the settings ask for is not to be had here.
    """
    try:
        artifact, digest = _read(path, settings.model_sha256)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from None
    manifest = artifact.manifest
    if manifest.program == "python":
        predictor: Predictor = entry.load(settings.entry, artifact)
    elif manifest.program == "export":
        predictor = predictors.exported(
            artifact, device=settings.device, autocast=settings.autocast, threads=settings.threads
        )
    else:
        predictor = predictors.choose(
            manifest.network,
            artifact.weights,
            kind=settings.predictor,
            device=settings.device,
            autocast=settings.autocast,
            threads=settings.threads,
        )
    return Model(
        digest[:VERSION_DIGITS], artifact, RecordReader(manifest.transform, unseen=settings.unseen_levels), predictor
    )


def _read(path: Path, wanted: str | None) -> tuple[Artifact, str]:
    """The artifact and its sha256; an unpacked one has the digest that is wanted, or that of its manifest."""
    if path.is_dir():
        artifact = load_directory(path)
        digest = wanted or hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    elif path.is_file():
        digest = sha256(path)
        if wanted not in (None, digest):
            raise ArtifactError(
                f"{path} has sha256 {digest}, SAGESTAGE_MODEL_SHA256 says {wanted}: "
                "give the archive that was meant, or unset the variable"
            )
        with tempfile.TemporaryDirectory(prefix="sagestage-model-") as directory:
            unpack(path, Path(directory))
            artifact = load_directory(Path(directory))
    else:
        raise ArtifactError(f"{path}: no model there: give a model.tar.gz or its unpacked directory with --model")
    return artifact, digest
