"""Training side by side with what one would write by hand, in one process and one run.

    make bench-training            # 1,000,000 rows x 9 columns; saves the table in docs/training.md
    make bench-training ARGS="--rows 200000 --runs 3 --dry-run"

* prepare: read + spill + fit + transform + features of a CSV file, against pandas merely parsing it;
* naive: statistics per chunk of 32 rows with pandas, measured on a part and scaled;
* features: their part of the preparation, by one process and by two;
* training: the training loop against a bare torch loop on the same tensors;
* memory: peak of a process that prepares, for 1 and 10 times the rows (`--no-memory` leaves it out).

CPU seconds of all threads, and seconds on the clock; medians. The contenders run in turns: they meet one another's
neighbours.
"""

from __future__ import annotations

# ruff: noqa: PLC0415  # what is imported counts: the process that is measured for its memory loads no pandas
import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs/training.md"
BEGIN, END = "<!-- bench-training -->", "<!-- /bench-training -->"
BATCH, EPOCHS = 256, 2
NAIVE_ROWS = 5_000


def write(path: Path, rows: int) -> Path:
    """A file of an hour, seven measurements and a target."""
    random = np.random.Generator(np.random.PCG64(0))
    with path.open("w") as file:
        file.write("hour," + ",".join(f"x{number}" for number in range(7)) + ",y\n")
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            values = random.normal(size=(count, 7)).round(4)
            target = (values[:, 0] + 0.5 * values[:, 1] * values[:, 2] + random.normal(0, 0.3, count)).round(4)
            hours = np.arange(start, start + count)
            np.savetxt(file, np.column_stack([hours, values, target]), fmt=["%d"] + ["%.4f"] * 8, delimiter=",")
    return path


@dataclass(frozen=True)
class Time:
    """Seconds: of the CPU, and on the clock."""

    cpu: float
    wall: float

    def __str__(self) -> str:
        return f"{self.cpu:.2f} s CPU, {self.wall:.2f} s"


def timed(action: Callable[[], object]) -> Time:
    """One run of an action."""
    cpu, wall = process_time(), perf_counter()
    action()
    return Time(process_time() - cpu, perf_counter() - wall)


def middle(times: Sequence[Time]) -> Time:
    """The medians."""
    return Time(median(one.cpu for one in times), median(one.wall for one in times))


def settings(data: Path, output: Path) -> dict[str, object]:
    """The settings of a run."""
    return {"data": data, "target": "y", "order": "hour", "drop": "hour", "lags": "1,7", "output": output}


def prepare(data: Path, output: Path) -> None:
    """Prepare once."""
    from training.config import TrainConfig
    from training.prepared import prepare as prepare_data

    with prepare_data(TrainConfig.model_validate(settings(data, output))):
        pass


def features(data: Path, output: Path, processes: int, runs: int) -> Time:
    """Making the features alone, of rows that are read and fitted."""
    from training import dataset
    from training import features as made
    from training.config import TrainConfig
    from training.fit import fit

    def silent(_text: str, _fraction: float | None = None) -> None:
        pass

    config = TrainConfig.model_validate(settings(data, output) | {"processes": processes})
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        rows = dataset.load(config, Path(name), silent)
        transform = fit(rows, config).transform
        times = []
        for number in range(runs):
            folder = Path(name) / str(number)
            folder.mkdir()
            times.append(timed(lambda folder=folder: made.build(rows, transform, config, folder, silent)))
        return middle(times)


def naive(data: Path, rows: int) -> float:
    """Seconds for all rows of a pipeline that takes statistics, clips, scales and adds features by chunks of 32."""
    import pandas as pd

    begin = process_time()
    for chunk in pd.read_csv(data, chunksize=32, nrows=NAIVE_ROWS):
        inputs = chunk.filter(like="x")
        low, high = inputs.quantile(0.25), inputs.quantile(0.75)
        clipped = inputs.clip(low - 1.5 * (high - low), high + 1.5 * (high - low), axis=1)
        scaled = (clipped - clipped.mean()) / clipped.std()
        for lag in (1, 7):
            scaled[f"y{lag}"] = chunk["y"].shift(lag)
        scaled["mean"], scaled["std"] = chunk["y"].rolling(7).mean(), chunk["y"].rolling(7).std()
    return (process_time() - begin) * rows / NAIVE_ROWS


def throughput(rows: int, runs: int, folder: Path) -> tuple[float, float]:
    """Rows a second of the loop and of a bare loop on the same tensors."""
    import torch
    from torch import nn

    from inference.contract.network import NetworkSpec
    from inference.contract.schema import Task
    from training import loop
    from training.table import FeatureTable, Writer

    random = np.random.Generator(np.random.PCG64(1))
    features = random.normal(size=(rows, 24)).astype(np.float32)
    targets = features[:, 0].copy()
    table = FeatureTable(folder / "bench-features", rows, 24, regression=True)
    with Writer(table, 0) as file:
        file.write(features, targets, (np.arange(rows) >= rows - 1_000).astype(np.int8))
    spec = NetworkSpec(inputs=24, hidden=(64, 32), outputs=1)
    job = loop.Job(
        features=table.folder, rows=rows, network=spec, task=Task.REGRESSION, learning_rate=1e-3,
        weight_decay=0.0, dropout=0.0, epochs=EPOCHS, batch_size=BATCH, patience=EPOCHS, seed=0,
        checkpoint=str(folder / "c.safetensors"),
    )  # fmt: skip

    def ours() -> None:
        (folder / "c.safetensors").unlink(missing_ok=True)
        loop.train(job, lambda _epoch: None)

    def bare() -> None:
        torch.set_num_threads(1)
        x, y = torch.from_numpy(features[:-1_000]), torch.from_numpy(targets[:-1_000])
        model = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
        for _ in range(EPOCHS):
            for part in torch.randperm(len(x)).split(BATCH):
                loss = nn.functional.mse_loss(model(x[part])[:, 0], y[part])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    ours()  # torch imports a second's worth of modules on its first step
    bare()
    pairs = [(timed(ours), timed(bare)) for _ in range(runs)]
    work = EPOCHS * (rows - 1_000)
    return tuple(work / median(pair[side].cpu for pair in pairs) for side in (0, 1))


def peak(data: Path, output: Path) -> float:
    """MiB at the peak of a process of its own that prepares."""
    command = [sys.executable, __file__, "--prepare", str(data), "--output", str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["peak_mib"])


def rows_of_table(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Measure: what, measured, beside, ratio, goal."""
    import pandas as pd

    data, out = write(folder / "rows.csv", options.rows), folder / "out"
    out.mkdir()
    prepare(write(folder / "warm.csv", 1_000), out)
    pairs = [(timed(lambda: pd.read_csv(data)), timed(lambda: prepare(data, out))) for _ in range(options.runs)]
    parse, whole = (middle([pair[side] for pair in pairs]) for side in (0, 1))
    ratio = f"{whole.cpu / parse.cpu:.2f} x CPU, {whole.wall / parse.wall:.2f} x clock"
    yield "read, spill, fit, features", str(whole), f"pandas parses: {parse}", ratio, "at most 4 x"
    slow = naive(data, options.rows)
    faster = f"{slow / whole.cpu:.0f} x faster"
    yield "read, spill, fit, features", f"{whole.cpu:.2f} s CPU", f"naive, chunks of 32: {slow:.0f} s", faster, "40 x"
    one, two = (features(data, out, processes, options.runs) for processes in (1, 2))
    yield (
        "features, one process",
        f"{one.wall:.2f} s",
        f"two: {two.wall:.2f} s",
        f"{one.wall / two.wall:.2f} x",
        "0.5 s",
    )
    rate, bare = throughput(min(options.rows, 100_000), options.runs, folder)
    yield "training, rows/s", f"{rate:,.0f}", f"bare torch: {bare:,.0f}", f"{rate / bare:.2f}", "at least 0.85"
    if options.memory:
        small, large = peak(data, out), peak(write(folder / "ten.csv", 10 * options.rows), out)
        beside = f"a tenth of the rows: {small:.0f} MiB"
        yield "peak memory, ten times the rows", f"{large:.0f} MiB", beside, f"{large / small:.2f} x", "at most 1.25 x"


def main() -> None:
    """Measure, print a table in Markdown and save it in the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--dry-run", action="store_true", help="print the table and leave the documentation alone")
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare, options.output)
        # VmHWM is this program's own; ru_maxrss goes on from that of the process that started it
        own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(json.dumps({"peak_mib": max(int(own[1]) if own else 0, children) / 1024}))
        return
    cores, today = len(os.sched_getaffinity(0)), f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f"{options.rows:,} rows x 9 columns, {cores} cores, medians of {options.runs} runs, {today}.",
        "",
    ]
    lines += ["| what | measured | beside | ratio | goal |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        for row in rows_of_table(options, Path(name)):
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    if not options.dry_run:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(before + BEGIN + "\n".join(["", *lines, ""]) + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
