"""The table of targets: what was aimed at, what was measured on this machine, and what cannot be measured here."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage import load, report

if TYPE_CHECKING:
    from rich.table import Table

GIB = 2**30
P95_MS, REQUESTS_A_SECOND, WANTED_A_SECOND, MEMORY_GIB, GPU_PERCENT = 50.0, 8_000, 10_000, 8.0, 70.0
_WARM_S = 1.0


@dataclass(frozen=True)
class Target:
    """One target: `met` is None for what was not or cannot be measured here."""

    what: str
    aim: str
    measured: str
    met: bool | None


def measure(
    status: Mapping[str, Any], url: str, endpoint: str, body: bytes, latencies_ms: Sequence[float]
) -> list[Target]:
    """The targets of serving.

    Args:
        status: what the cloud shows of its processes.
        url: the cloud's address.
        endpoint: the endpoint's name.
        body: a request of one row.
        latencies_ms: what clients of the rehearsal's traffic saw.
    """
    from sagestage.statistics import percentile

    found = next(one for one in status["endpoints"] if one["name"] == endpoint)
    processes = [process for variant in found["variants"] for process in variant["processes"]]
    with ThreadPoolExecutor(1) as pool:
        graphics = pool.submit(_gpu_percent)  # while the instance is busy
        alone = load.requests_per_second(f"http://127.0.0.1:{processes[0]['port']}/invocations", body)
        gpu = graphics.result()
    through = load.requests_per_second(f"{url}/endpoints/{endpoint}/invocations", body)
    p95 = percentile(latencies_ms, 95)
    memory = _peak_bytes([process["pid"] for process in processes]) / GIB
    return [
        Target("p95 latency of the traffic, seen by boto3", f"< {P95_MS:g} ms", f"{p95:.1f} ms", p95 < P95_MS),
        Target(
            f"requests a second of {len(body):,} bytes, one instance's own port",
            f"> {REQUESTS_A_SECOND:,}, {WANTED_A_SECOND:,} wanted",
            f"{alone:,.0f}",
            alone > REQUESTS_A_SECOND,
        ),
        Target("requests a second, through the front", "beside it", f"{through:,.0f}", None),
        Target(
            "peak memory of training and serving", f"< {MEMORY_GIB:g} GiB", f"{memory:.2f} GiB", memory < MEMORY_GIB
        ),
        Target(
            "GPU utilisation while one instance is asked as fast as it answers",
            f"> {GPU_PERCENT:g} %",
            "not measurable here: no GPU" if gpu is None else f"{gpu:.0f} %",
            None if gpu is None else gpu > GPU_PERCENT,
        ),
    ]


def quality(models: Sequence[Any]) -> list[Target]:
    """What the held-out rows say of each model."""
    made = []
    for model in models:
        metrics, checks = model.result.metrics, model.result.verdict.checks
        if "accuracy" in metrics:
            value = metrics["accuracy"]
            made.append(Target(f"accuracy of {model.name}", "> 0.90", f"{value:.4f}", value > 0.9))
        else:
            gates = ", ".join(str(check.gate) for check in checks) or "no gate"
            made.append(Target(f"R² of {model.name}", gates, f"{metrics['r2']:.4f}", model.passed))
    return made


def table_of(targets: Sequence[Target]) -> Table:
    """All targets."""
    machine = f"{os.cpu_count()} processors, {platform.machine()}, {platform.system()}; shared with whatever else runs"
    made = report.table(f"Targets, measured once on this machine ({machine})", "target", "aim", "measured", "")
    for target in targets:
        verdict = {True: "[green]met[/]", False: "[yellow]missed[/]", None: ""}[target.met]
        made.add_row(target.what, target.aim, target.measured, verdict)
    return made


def _peak_bytes(pids: Sequence[int]) -> int:
    """The peak resident size of this process, of its largest child, and of the instances."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return 1024 * (own + sum(_peak_kib(pid) for pid in pids))


def _peak_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _gpu_percent() -> float | None:
    """How busy this machine's GPUs are in a while, added up over GPUs; None where there are none."""
    from infra.cloud.graphics import Gpus

    time.sleep(_WARM_S)
    return Gpus().ask().get("GPUUtilization")
