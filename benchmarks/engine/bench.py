"""`make bench-engine`: the same stacks through both engines in one run.

Rows: a first preview and a no-op `up`, each as a new process, by the embedded engine and by the real CLI (if there is
one); a no-op `up` in one process after a first run; and the growth with the number of resources.
The machine is often shared: every figure is the median of `--runs`, with the fastest and the slowest beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.engine_support.twin import PASSPHRASE, Embedded, Lab, Real, cli  # noqa: E402 - found through the line above

FULL = """
group = Group("stack")
things = []
for i in range(39):
    inputs = {"value": i, "tags": {"stack": "full", "index": str(i)}, "password": Output.secret(f"pw{i}")}
    if things and i % 3:
        inputs["refs"] = [things[-1].arn]
    things.append(Thing(f"thing{i}", opts=under(group), **inputs))
pulumi.export("last", things[-1].arn)
"""
MANY = 'things = [Thing(f"t{{i}}", value=i, tags={{"x": "y" * 200}}) for i in range({n})]\n'
SIZES = (125, 250, 500)
CHILD = """
import sys
from pathlib import Path
from tests.engine_support.twin import Embedded
getattr(Embedded(Path(sys.argv[1])).engine(), sys.argv[2])()
"""


def seconds(work: Callable[[], object], runs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each run: wall-clock, or the CPU's with `time.process_time`."""
    spent = []
    for _ in range(runs):
        began = clock()
        work()
        spent.append(clock() - began)
    return spent


def as_process(lab: Lab, operation: str) -> Callable[[], object]:
    """The embedded engine in a process of its own, interpreter start included."""
    command = [sys.executable, "-c", CHILD, str(lab.folder), operation]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return lambda: subprocess.run(command, cwd=ROOT, env=environment, check=True)


def compare(folder: Path, runs: int) -> dict[str, list[float]]:
    """Both engines on the full stack."""
    embedded = Embedded(folder / "embedded")
    embedded.write(FULL)
    found = {"first preview, new process, embedded": seconds(as_process(embedded, "preview"), runs)}
    embedded.engine().up()
    found["no-op up, new process, embedded"] = seconds(as_process(embedded, "up"), runs)
    found["no-op up, same process, embedded"] = seconds(lambda: embedded.engine().up(), runs)
    if cli() is not None:
        real = Real(folder / "real")
        real.write(FULL)
        found["first preview, new process, pulumi"] = seconds(lambda: real.run("preview"), runs)
        real.run("up", "--yes", "--skip-preview")
        found["no-op up, new process, pulumi"] = seconds(lambda: real.run("up", "--yes", "--skip-preview"), runs)
    return found


def growth(folder: Path, runs: int) -> dict[str, list[float]]:
    """CPU time of operations at growing sizes, in one process: milliseconds a resource should stay the same.

    Not the wall-clock's: on a shared machine that shows how busy the others were.
    """
    found: dict[str, list[float]] = {}
    for run in range(runs):
        for size in SIZES:
            lab = Embedded(folder / f"{size}-{run}")
            lab.write(MANY.format(n=size))
            for name, operation in (
                ("first up", "up"),
                ("no-op up", "up"),
                ("preview", "preview"),
                ("destroy", "destroy"),
            ):
                spent = seconds(getattr(lab.engine(), operation), 1, time.process_time)
                found.setdefault(f"CPU of {name} of {size}", []).extend(spent)
    return found


def main() -> None:
    """Run and print; `--json` for a machine."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    os.environ["PULUMI_CONFIG_PASSPHRASE"] = PASSPHRASE
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), chosen.runs) | growth(Path(folder), chosen.runs)
    if chosen.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = Table("what", "median s", "fastest", "slowest", "ms a resource")
    for name, spent in found.items():
        size = name.rpartition(" ")[2]
        each = f"{statistics.median(spent) * 1000 / int(size):.1f}" if size.isdigit() else ""
        table.add_row(name, *(f"{pick(spent):.2f}" for pick in (statistics.median, min, max)), each)
    Console().print(table)


if __name__ == "__main__":
    main()
