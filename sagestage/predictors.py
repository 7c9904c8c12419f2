"""`sagestage bench predictor`: which predictor computes a model fastest on this machine."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from rich.table import Table

from sagestage import output
from sagestage.errors import SagestageError

if TYPE_CHECKING:
    from inference.predictors import Predictor

ROWS = (1, 32, 1024)
KINDS = ("numpy", "onnx", "torch", "compile")


@dataclass(frozen=True)
class Figure:
    """Median seconds of a forward pass by batch size, and of making the predictor; or why there is none."""

    kind: str
    start_s: float | None = None
    seconds: tuple[float, ...] = ()
    reason: str | None = None


def bench(model: Path, *, rounds: int, as_json: bool) -> None:
    """Check every predictor against the golden rows, then time them in turns.

    Raises:
        SagestageError: no predictor can serve the model here.
    """
    figures = measure(model, rounds)
    timed = [figure for figure in figures if figure.seconds]
    if not timed:
        raise SagestageError(f"{model}: no predictor serves it here: {figures[0].reason}")
    if as_json:
        output.print_json(
            {
                "predictors": [
                    {"predictor": one.kind, "start_s": one.start_s, "reason": one.reason}
                    | {f"rows_{rows}_us": round(1e6 * took, 1) for rows, took in zip(ROWS, one.seconds, strict=False)}
                    for one in figures
                ]
            }
        )
        return
    table = Table("predictor", "start s", *(f"{rows} rows, µs" for rows in ROWS), "")
    for figure in figures:
        shown = [f"{1e6 * took:,.0f}" for took in figure.seconds] or [""] * len(ROWS)
        table.add_row(
            figure.kind, "" if figure.start_s is None else f"{figure.start_s:.2f}", *shown, figure.reason or ""
        )
    console = output.console()
    console.print(table)
    for place, rows in enumerate(ROWS):
        best = min(timed, key=lambda one: one.seconds[place])
        console.print(f"Fastest at {rows} rows: {best.kind}", highlight=False)
    console.print(f"Medians of {rounds} rounds on this machine, in turns, one thread.", highlight=False)


def measure(model: Path, rounds: int) -> list[Figure]:
    """Load the model with every predictor that this machine has, and time them in turns."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # as the server does, before numpy is imported
    from inference import model as models
    from inference.contract.errors import ContractError
    from inference.errors import StartError
    from inference.settings import Settings

    figures: list[Figure] = []
    loaded: dict[str, Predictor] = {}
    starts: dict[str, float] = {}
    for kind in KINDS:
        begun = perf_counter()
        try:
            one = models.load(model, Settings(predictor=kind, device="cpu"))
            one.verify()
        except (StartError, ContractError) as error:
            figures.append(Figure(kind, reason=str(error)))
            continue
        program = one.artifact.manifest.program
        if program != "network":  # there is one way to compute it
            kind = program  # noqa: PLW2901
        loaded[kind], starts[kind] = one.predictor, perf_counter() - begun
        features = one.artifact.manifest.network.inputs
        if program != "network":
            figures.clear()
            break
    return _timed(figures, loaded, starts, features if loaded else 0, rounds)


def _timed(
    figures: list[Figure], loaded: dict[str, Predictor], starts: dict[str, float], features: int, rounds: int
) -> list[Figure]:
    """The predictors' medians, taken in turns, beside the figures of those that cannot serve."""
    import numpy as np

    batches = [np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32) for rows in ROWS if loaded]
    for predictor in loaded.values():
        for batch in batches:
            predictor(batch)  # what is compiled or laid out at the first call
    took: dict[str, list[list[float]]] = {kind: [[] for _ in batches] for kind in loaded}
    for _ in range(rounds):
        for kind, predictor in loaded.items():
            for place, batch in enumerate(batches):
                begun = perf_counter()
                predictor(batch)
                took[kind][place].append(perf_counter() - begun)
    medians = {kind: tuple(statistics.median(values) for values in sizes) for kind, sizes in took.items()}
    timed = [Figure(kind, starts[kind], medians[kind]) for kind in loaded]
    return sorted([*timed, *figures], key=lambda one: KINDS.index(one.kind) if one.kind in KINDS else 0)
