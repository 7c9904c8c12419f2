"""Training side by side with what one would write by hand, in one process and one run.

    make bench-training            # 1,000,000 rows x 9 columns
    make bench-training ARGS="--rows 200000 --runs 3"

* prepare: read + spill + fit + transform + features of a CSV file, against pandas merely parsing it;
* naive: statistics per chunk of 32 rows with pandas, measured on a part and scaled;
* throughput: the training loop against a bare torch loop on the same tensors;
Seconds are CPU seconds; all contenders use one thread.

* memory: peak of a process that prepares, for 1 and 10 times the rows (`--memory`).
"""

from __future__ import annotations

# ruff: noqa: PLC0415  # what is imported counts: the process that is measured for its memory loads no pandas
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
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


def timed(action: Callable[[], object], runs: int) -> float:
    """The median of the seconds of CPU time: a shared machine's neighbours do not count."""
    seconds = []
    for _ in range(runs):
        begin = process_time()
        action()
        seconds.append(process_time() - begin)
    return median(seconds)


def settings(data: Path, output: Path) -> dict[str, object]:
    """The settings of a run."""
    return {"data": data, "target": "y", "order": "hour", "drop": "hour", "lags": "1,7", "output": output}


def prepare(data: Path, output: Path) -> float:
    """Prepare once; the seconds."""
    from training.config import TrainConfig
    from training.prepared import prepare as prepare_data

    begin = process_time()
    with prepare_data(TrainConfig.model_validate(settings(data, output))):
        return process_time() - begin


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

    random = np.random.Generator(np.random.PCG64(1))
    features = random.normal(size=(rows, 24)).astype(np.float32)
    targets = features[:, 0].copy()
    np.save(folder / "features.npy", features)
    np.save(folder / "targets.npy", targets)
    np.save(folder / "train.npy", np.arange(rows - 1_000))
    np.save(folder / "validation.npy", np.arange(rows - 1_000, rows))
    spec = NetworkSpec(inputs=24, hidden=(64, 32), outputs=1)
    job = loop.Job(
        features=folder / "features.npy", targets=folder / "targets.npy", train_rows=folder / "train.npy",
        validation_rows=folder / "validation.npy", network=spec, task=Task.REGRESSION, learning_rate=1e-3,
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
    pairs = [(timed(ours, 1), timed(bare, 1)) for _ in range(runs)]  # in turns: both meet the same neighbours
    work = EPOCHS * (rows - 1_000)
    return work / median(pair[0] for pair in pairs), work / median(pair[1] for pair in pairs)


def peak(data: Path, output: Path) -> float:
    """MiB at the peak of a process of its own that prepares."""
    command = [sys.executable, __file__, "--prepare", str(data), "--output", str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["peak_mib"])


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.prepare:
        seconds = prepare(options.prepare, options.output)
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": mib}))
        return
    import pandas as pd

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write(folder / "rows.csv", options.rows)
        out = folder / "out"
        prepare(write(folder / "warm.csv", 1_000), out)
        parse = timed(lambda: pd.read_csv(data), options.runs)
        whole = timed(lambda: prepare(data, out), options.runs)
        slow = naive(data, options.rows)
        loop_rate, bare_rate = throughput(min(options.rows, 100_000), options.runs, folder)
        memory = []
        if options.memory:
            memory = [peak(data, out), peak(write(folder / "ten.csv", 10 * options.rows), out)]
    cores = len(os.sched_getaffinity(0))
    print(f"\n{options.rows:,} rows x 9 columns, {cores} cores, CPU seconds, median of {options.runs} runs\n")
    print("| what | measured | beside | ratio | goal |\n|---|---|---|---|---|")
    print(f"| prepare | {whole:.2f} s | pandas parses: {parse:.2f} s | {whole / parse:.2f} x | at most 4 x |")
    print(
        f"| prepare | {whole:.2f} s | naive, chunks of 32: {slow:.0f} s | {slow / whole:.0f} x faster | at least 40 x |"
    )
    ratio = loop_rate / bare_rate
    print(f"| training, rows/s | {loop_rate:,.0f} | bare torch: {bare_rate:,.0f} | {ratio:.2f} | at least 0.85 |")
    if memory:
        first, ten = memory
        print(f"| peak memory | {ten:.0f} MiB | a tenth: {first:.0f} MiB | {ten / first:.2f} x | at most 1.25 x |")


if __name__ == "__main__":
    main()
