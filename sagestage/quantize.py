"""`sagestage quantize`: a model with int8 weights, if it is as good: size, metric and speed, before and after."""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sagestage import output
from sagestage.errors import SagestageError

if TYPE_CHECKING:
    import numpy as np

    from inference.contract.artifact import Artifact
    from inference.contract.schema import Rows

WORTH_PARAMETERS = 50_000
"""Below this the fixed parts of the file weigh more than what is saved."""
RESAMPLES = 1_000
SPEED_ROUNDS = 50


@dataclass(frozen=True)
class Outcome:
    """What quantising did; sizes in bytes, `drop` positive when the metric fell, with its paired 95 % interval."""

    parameters: int
    metric: str
    before: float
    after: float
    drop: float
    interval: tuple[float, float]
    weights_before: int
    weights_after: int
    archive_before: int
    archive_after: int
    us_before: float
    us_after: float

    @property
    def smaller(self) -> float:
        """By how much the weights' file is smaller, 0 to 1."""
        return 1.0 - self.weights_after / self.weights_before


def quantize(model: Path, data: Path, out: Path, *, tolerance: float, as_json: bool) -> None:
    """Write the quantised model, unless its metric falls by more than the tolerance.

    Raises:
        SagestageError: the model or the data cannot be used, or the metric falls too far; then nothing is written.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from inference.contract.errors import ContractError

    try:
        outcome = _quantize(model, data, out, tolerance)
    except ContractError as error:
        raise SagestageError(str(error)) from error
    if as_json:
        output.print_json({name: getattr(outcome, name) for name in outcome.__dataclass_fields__} | {"out": str(out)})
        return
    console = output.console()
    table = Table("", "before", "after", "change")
    low, high = outcome.interval
    change = f"{-outcome.drop:+.6f} (95 %: {-high:+.6f} to {-low:+.6f})"
    table.add_row(outcome.metric, f"{outcome.before:.6f}", f"{outcome.after:.6f}", change)
    change = f"{-outcome.smaller:+.1%}"
    table.add_row("weights, bytes", f"{outcome.weights_before:,}", f"{outcome.weights_after:,}", change)
    change = f"{outcome.archive_after / outcome.archive_before - 1:+.1%}"
    table.add_row("archive, bytes", f"{outcome.archive_before:,}", f"{outcome.archive_after:,}", change)
    table.add_row("1,024 rows, µs", f"{outcome.us_before:,.0f}", f"{outcome.us_after:,.0f}",
                  "the weights are expanded on loading: no faster by design")  # fmt: skip
    console.print(table)
    if outcome.parameters < WORTH_PARAMETERS:
        console.print(
            f"Advice: not worth it for {outcome.parameters:,} parameters; from {WORTH_PARAMETERS:,} on the file is at"
            " least 70 % smaller.",
            highlight=False,
        )
    console.print(f"Written: {out}", highlight=False, soft_wrap=True)


def _quantize(model: Path, data: Path, out: Path, tolerance: float) -> Outcome:
    from inference.contract import arrow, artifact
    from inference.contract.artifact import Artifact, Golden
    from inference.contract.quantisation import expand, shrink
    from inference.contract.records import RecordReader

    with tempfile.TemporaryDirectory(prefix="sagestage-quantize-") as name:
        directory = Path(name)
        artifact.unpack(model, directory / "before")
        old = artifact.load_directory(directory / "before")
        if old.manifest.quantisation is not None:
            raise SagestageError(f"{model} is quantised already ({old.manifest.quantisation})")
        if old.manifest.program != "network":
            raise SagestageError(
                f"{model} is computed by a program of your own: only weights of a network are quantised"
            )
        reader = RecordReader(old.manifest.transform)
        rows = arrow.read_file(data, reader)
        manifest = old.manifest.model_copy(update={"quantisation": "int8", "files": {}})
        weights = expand(shrink(old.weights))
        new = Artifact(manifest, weights, old.golden)
        metric, before, after, drop, interval = _compare(old, new, rows)
        if drop > tolerance:
            raise SagestageError(
                f"{metric} falls from {before:.6f} to {after:.6f}, by more than {tolerance:g}: not written;"
                " keep the model as it is, or give another --tolerance"
            )
        answers = _answers(new, reader.read(old.golden.instances))
        odds = None if answers.probabilities is None else answers.probabilities.tolist()
        golden = Golden(instances=old.golden.instances, predictions=answers.values.tolist(), probabilities=odds)
        artifact.pack(directory / "after.tar.gz", manifest, weights, golden)
        artifact.unpack(directory / "after.tar.gz", directory / "after")
        us_before, us_after = _speed(old, artifact.load_directory(directory / "after"))
        outcome = Outcome(
            parameters=sum(weight.size for weight in old.weights.values()),
            metric=metric, before=before, after=after, drop=drop, interval=interval,
            weights_before=(directory / "before" / artifact.WEIGHTS).stat().st_size,
            weights_after=(directory / "after" / artifact.WEIGHTS).stat().st_size,
            archive_before=model.stat().st_size,
            archive_after=(directory / "after.tar.gz").stat().st_size,
            us_before=us_before, us_after=us_after,
        )  # fmt: skip
        artifact.pack(out, manifest, weights, golden)
    return outcome


def _answers(model: Artifact, rows: Rows) -> Any:
    from inference.contract.predictions import Predictions

    transform = model.manifest.transform
    return Predictions.of(transform, model.forward(transform.apply(rows).matrix))


def _compare(old: Artifact, new: Artifact, rows: Rows) -> tuple[str, float, float, float, tuple[float, float]]:
    """The metric before and after, its fall, and the fall's interval by resampling rows in pairs."""
    import numpy as np

    from inference.contract.metrics import Metric
    from inference.contract.schema import Task

    transform = old.manifest.transform
    truth = rows.values[rows.emit, transform.table.index(transform.table.target)]
    known = ~np.isnan(truth)
    pairs = [_answers(model, rows) for model in (old, new)]
    if transform.table.task is Task.REGRESSION:
        metric = Metric.R2
        losses = [np.square(one.values[known] - truth[known]) for one in pairs]
        spread = np.square(truth[known] - truth[known].mean())
    else:
        metric = Metric.ACCURACY
        numbers = all(isinstance(label, int) for label in transform.classes)
        classes = np.array(transform.classes if numbers else range(len(transform.classes)), dtype=np.float64)
        losses = [(classes[one.values[known]] != truth[known]).astype(np.float64) for one in pairs]
        spread = np.ones(int(known.sum()))

    def scores(index: np.ndarray[Any, Any]) -> list[float]:
        total = float(spread[index].sum())
        return [1.0 - float(loss[index].sum()) / total for loss in losses]

    everyone = np.arange(int(known.sum()))
    if len(everyone) < 2 or not spread.sum() > 0:
        raise SagestageError("the data hold too few rows with a known target to compare by")
    before, after = scores(everyone)
    generator = np.random.default_rng(0)
    drawn = (scores(generator.choice(everyone, len(everyone))) for _ in range(RESAMPLES))
    falls = np.array([first - second for first, second in drawn])
    low, high = (float(value) for value in np.quantile(falls, (0.025, 0.975)))
    return str(metric), before, after, before - after, (low, high)


def _speed(old: Artifact, new: Artifact) -> tuple[float, float]:
    """Median microseconds of a forward pass of 1,024 rows, in turns."""
    import numpy as np

    from inference.predictors.numpy import NumpyPredictor

    network = old.manifest.network
    predictors = [NumpyPredictor(network, model.weights) for model in (old, new)]
    batch = np.random.default_rng(0).normal(size=(1024, network.inputs)).astype(np.float32)
    took: list[list[float]] = [[], []]
    for _ in range(SPEED_ROUNDS):
        for place, predictor in enumerate(predictors):
            begun = perf_counter()
            predictor(batch)
            took[place].append(1e6 * (perf_counter() - begun))
    return statistics.median(took[0]), statistics.median(took[1])
