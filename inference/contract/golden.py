"""Golden rows: raw requests and the answers that a model must give before it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.contract.errors import ArtifactError, ContractError
from inference.contract.network import Single
from inference.contract.predictions import Predictions
from inference.contract.records import RecordReader
from inference.contract.schema import Floats, Frozen

if TYPE_CHECKING:
    from inference.contract.artifact import Artifact


class Tolerance(Frozen):
    """When two predictions are equal: |a - b| <= atol + rtol * |b|."""

    rtol: float = 1e-5
    atol: float = 1e-6

    def equal(self, actual: Any, expected: Any) -> bool:
        """Whether two arrays of one shape agree everywhere."""
        return np.shape(actual) == np.shape(expected) and np.allclose(actual, expected, rtol=self.rtol, atol=self.atol)


class Golden(Frozen):
    """Raw rows as a caller sends them, and the predictions (and probabilities) that they must get."""

    instances: list[Any]
    predictions: list[float]
    probabilities: list[list[float]] | None = None


def replay(artifact: Artifact, predict: Callable[[Single], Floats] | None = None) -> None:
    """Send the golden rows through the whole serving path and compare with the answers that they must get.

    `predict` maps features to raw outputs; numpy's forward pass by default.

    Raises:
        ArtifactError: there are no golden rows, or an answer differs by more than the tolerance.
    """
    manifest, golden = artifact.manifest, artifact.golden
    try:
        rows = RecordReader(manifest.transform).read(golden.instances)
        features = manifest.transform.apply(rows).matrix
    except ContractError as error:
        raise ArtifactError(f"the golden rows cannot be read: {error}") from error
    outputs = (predict or artifact.forward)(features)
    answers = Predictions.of(manifest.transform, outputs)
    pairs: list[tuple[str, Any, Any]] = [("prediction", answers.values, golden.predictions)]
    if golden.probabilities is not None:
        pairs.append(("probabilities", answers.probabilities, golden.probabilities))
    for what, actual, expected in pairs:
        if not manifest.tolerance.equal(actual, expected):
            raise ArtifactError(
                f"the model does not give its golden answers: {what} {_first_difference(actual, expected)}"
                f" (rtol {manifest.tolerance.rtol}, atol {manifest.tolerance.atol}): it must not serve"
            )


def _first_difference(actual: Any, expected: Any) -> str:
    if np.shape(actual) != np.shape(expected):
        return f"has shape {np.shape(actual)}, expected {np.shape(expected)}"
    worst = int(np.abs(np.asarray(actual) - np.asarray(expected)).reshape(len(expected), -1).max(axis=1).argmax())
    return f"of row {worst} is {np.asarray(actual)[worst]}, expected {expected[worst]}"
