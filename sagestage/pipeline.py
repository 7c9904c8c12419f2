"""How fast a million rows become features on this machine: two rows of the table of targets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sagestage.targets import Target

ROWS, MEASUREMENTS = 1_000_000, 7
PIPELINE_S, FEATURES_S = 3.0, 0.5


def measure(at: Callable[[str], None], *, rows: int = ROWS) -> list[Target]:
    """Read, spill, fit and make the features of generated rows of 9 columns, once, in this process; wall-clock seconds.

    Args:
        at: hears what is under way.
        rows: how many.
    """
    from training import dataset, features
    from training.config import TrainConfig
    from training.fit import fit
    from training.profile import look

    with tempfile.TemporaryDirectory(prefix="sagestage-pipeline-") as place:
        folder = Path(place)
        at(f"writing {rows:,} rows to measure the data pipeline with")
        config = TrainConfig.model_validate(
            {"data": _write(folder / "rows.csv", rows), "target": "y", "order": "hour", "drop": "hour", "lags": "1,7"}
            | {"output": folder / "output"}
        )
        begin = time.perf_counter()
        loaded = dataset.load(config, folder, lambda _text, _fraction=None: at("reading and sorting them"))
        at("fitting")
        profile = look(loaded, config.chunk_rows)
        fitted = fit(loaded, config, profile)
        fit_done = time.perf_counter()
        features.build(loaded, fitted.transform, config, folder, lambda _text, _fraction=None: at("making features"))
        done = time.perf_counter()
    pipeline, made = done - begin, done - fit_done
    size = f"{rows:,} generated rows x {MEASUREMENTS + 2} columns"
    return [
        Target(f"data pipeline, {size}", f"< {PIPELINE_S:g} s", f"{pipeline:.2f} s", pipeline < PIPELINE_S),
        Target(f"its features, {size}", f"< {FEATURES_S * 1000:g} ms", f"{made * 1000:.0f} ms", made < FEATURES_S),
    ]


def _write(path: Path, rows: int) -> Path:
    """Hours, seven measurements and a target, in columns named hour, x0 … x6 and y."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    random = np.random.Generator(np.random.PCG64(0))
    values = random.normal(size=(MEASUREMENTS, rows)).round(4)
    columns = {"hour": np.arange(rows), **{f"x{number}": column for number, column in enumerate(values)}}
    columns["y"] = (values[0] + 0.5 * values[1] * values[2] + random.normal(0, 0.3, rows)).round(4)
    csv.write_csv(pa.table(columns), path)
    return path
