"""Instances' output in the embedded CloudWatch Logs: group `/aws/sagemaker/Endpoints/NAME`, stream `VARIANT/INSTANCE`.

The files under `endpoints/NAME/logs` are what the processes write; this follows them, a line an event.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MOST_EVENT_BYTES = 16_384
MOST_READ_BYTES = 1 << 20
GROUP, JOBS_GROUP = "/aws/sagemaker/Endpoints/", "/aws/sagemaker/TransformJobs"


class Sink(Protocol):
    """Where events go."""

    def put_log_events(self, region: str, group: str, stream: str, events: list[tuple[int, str]]) -> None:
        """Store events: (milliseconds since 1970, text), in order."""


@dataclass
class Followed:
    """A file, how far it was read, and the beginning of a line that is not whole yet."""

    region: str
    group: str
    stream: str
    offset: int = 0
    rest: bytes = field(default=b"")


class Logs:
    """Follows log files. Its methods are called from one thread."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._files: dict[Path, Followed] = {}

    def watch(self, region: str, group: str, folder: Path) -> None:
        """Follow every log file in a folder, `VARIANT-NUMBER.FLEET.log`, into a group."""
        for path in folder.glob("*.log"):
            if path not in self._files:
                instance, fleet, _ = path.name.rsplit(".", 2)
                variant, _, number = instance.rpartition("-")
                stream = f"{variant}/i-{fleet.removeprefix('fleet-')}{int(number):04x}"
                self._files[path] = Followed(region, group, stream)

    def pass_on(self) -> None:
        """Send what was written since the last call."""
        for path, followed in list(self._files.items()):
            try:
                with path.open("rb") as file:
                    file.seek(followed.offset)
                    data = file.read(MOST_READ_BYTES)
            except FileNotFoundError:  # the endpoint is gone
                del self._files[path]
                continue
            if data:
                followed.offset += len(data)
                self._send(followed, data)

    def _send(self, followed: Followed, data: bytes) -> None:
        *lines, followed.rest = (followed.rest + data).split(b"\n")
        moment = round(time.time() * 1000)
        events = [
            (moment, line[:MOST_EVENT_BYTES].decode(errors="replace").rstrip("\r")) for line in lines if line.strip()
        ]
        if events:
            self._sink.put_log_events(followed.region, followed.group, followed.stream, events)
