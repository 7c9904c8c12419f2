"""What instances use: processor, memory, disk and GPUs, as `/aws/sagemaker/Endpoints` has them.

Reads Linux's /proc, and asks nvidia-smi where there is one.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.cloud.graphics import Gpus
from infra.cloud.hosting import Hosting
from infra.cloud.series import Key, Store

NAMESPACE = "/aws/sagemaker/Endpoints"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY = _PAGE * os.sysconf("SC_PHYS_PAGES")
_PERCENT = 100.0
# Fields of /proc/PID/stat after the command's closing bracket: proc_pid_stat(5) counts from 1, and that is the second.
_USER, _SYSTEM, _RESIDENT = 14 - 3, 15 - 3, 24 - 3


class Usage:
    """Measures every instance of every live endpoint.

    CPUUtilization adds up over cores: two busy ones are 200, and so do the metrics of GPUs. MemoryUtilization is a
    share of this machine's memory, and GPUs are this machine's, whichever instance uses them.

    Args:
        hosting: has the instances.
        store: where the figures go.
        gpus: what this machine's GPUs do, or nothing where there are none.
    """

    def __init__(self, hosting: Hosting, store: Store, gpus: Callable[[], dict[str, float]] | None = None) -> None:
        self._gpus = gpus or Gpus().used
        self._hosting = hosting
        self._store = store
        self._last: dict[int, tuple[float, float]] = {}

    def measure(self) -> None:
        """Put what each instance used since the last call into the store."""
        graphics = self._gpus()
        now = time.monotonic()
        known: dict[int, tuple[float, float]] = {}
        for region, endpoint, variant, pid in list(self._instances()):
            cpu_s, resident = used(pid)
            known[pid] = (now, cpu_s)
            figures = {"MemoryUtilization": _PERCENT * resident / _MEMORY, "DiskUtilization": self._disk()}
            figures |= graphics
            if pid in self._last:
                then, before = self._last[pid]
                figures["CPUUtilization"] = max(0.0, _PERCENT * (cpu_s - before) / max(now - then, 1e-3))
            dimensions = (("EndpointName", endpoint), ("VariantName", variant))
            for name, value in figures.items():
                self._store.put(Key(region, NAMESPACE, name, dimensions), time.time(), {value: 1.0}, "Percent")
        self._last = known

    def _instances(self) -> Iterator[tuple[str, str, str, int]]:
        for endpoint in self._hosting.store.endpoints.values():
            fleets = [endpoint.fleet, endpoint.pending.fleet if endpoint.pending else None]
            for fleet in fleets:
                for variant in fleet.all_variants if fleet else ():
                    for instance in variant.fleet.instances:
                        yield endpoint.region, endpoint.name, variant.name, instance.pid

    def _disk(self) -> float:
        total, taken, _ = shutil.disk_usage(self._hosting.options.home)
        return _PERCENT * taken / total


def used(pid: int) -> tuple[float, int]:
    """Processor seconds and resident bytes of a process and its descendants; zeros for one that is gone."""
    cpu_s, resident = 0.0, 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
        resident = int(fields[_RESIDENT]) * _PAGE
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            more_s, more = used(int(child))
            cpu_s, resident = cpu_s + more_s, resident + more
    return cpu_s, resident
