"""What this machine's GPUs do, by nvidia-smi."""

import logging
import shutil
import subprocess
import threading

_PERCENT = 100.0
_ANSWER_S = 5.0
log = logging.getLogger(__name__)


class Gpus:
    """Asks nvidia-smi.

    Args:
        command: what to run; where it is not there, there are no GPUs.
    """

    def __init__(self, command: str = "nvidia-smi") -> None:
        self._command = shutil.which(command)
        self._last: dict[str, float] = {}
        self._asking: threading.Thread | None = None

    def used(self) -> dict[str, float]:
        """What `ask` said last; asks again in the background, for the tool takes its time."""
        if self._command is not None and (self._asking is None or not self._asking.is_alive()):
            self._asking = threading.Thread(target=self._ask_again, daemon=True)
            self._asking.start()
        return self._last

    def _ask_again(self) -> None:
        self._last = self.ask()

    def ask(self) -> dict[str, float]:
        """GPUUtilization and GPUMemoryUtilization, added up over GPUs, percent; nothing where it cannot be known."""
        if self._command is None:
            return {}
        query = "--query-gpu=utilization.gpu,memory.used,memory.total"
        command = [self._command, query, "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout  # noqa: S603 - the machine's own tool
            rows = [[float(part) for part in line.split(",")] for line in said.splitlines() if line.strip()]
            busy, memory = sum(row[0] for row in rows), sum(_PERCENT * row[1] / row[2] for row in rows)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError, ZeroDivisionError) as error:
            log.warning("nvidia-smi does not tell what GPUs do: %s", error)
            self._command = None  # it will not learn it; asking every minute would fill the log
            return {}
        return {"GPUUtilization": busy, "GPUMemoryUtilization": memory} if rows else {}
