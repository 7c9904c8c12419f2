"""Ray on several hosts: features as tasks, the feature table brought to the workers, epochs told over the network."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError
from training.hosts import Joined

if TYPE_CHECKING:
    from training.loop import Epoch

IN_FLIGHT = 4
"""Chunks that are on their way, for each host."""
PACE_S = 0.2


def join(joined: Joined) -> None:
    """Become the driver of a Ray that runs already, and wait until all its hosts are there.

    Raises:
        TrainingError: they are not, within the deadline.
    """
    import logging  # noqa: PLC0415  # beside ray

    import ray  # noqa: PLC0415  # takes a second, in the thread of PrivateRay

    end = monotonic() + joined.deadline_s
    ray.init(address=joined.address, _node_ip_address=joined.here, log_to_driver=False, logging_level=logging.CRITICAL)
    while (alive := sum(node["Alive"] for node in ray.nodes())) < joined.hosts:  # type: ignore[no-untyped-call]
        if monotonic() >= end:
            raise TrainingError(f"{alive} of {joined.hosts} hosts joined Ray within {joined.deadline_s:g} s")
        sleep(PACE_S)


def tasks(joined: Joined) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
    """A `map` whose calls are Ray tasks on all hosts; the answers come in order, few items are in memory at once."""

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        import ray  # noqa: PLC0415  # as above

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own deprecations are not the user's concern
            remote: Any = ray.remote(scheduling_strategy="SPREAD")(_call)
            kept = ray.put(function)
            waiting: deque[Any] = deque()
            for item in items:
                waiting.append(remote.remote(kept, item))
                if len(waiting) >= IN_FLIGHT * joined.hosts:
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())

    return run


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def ship(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """References to the files of these folders, for `fetch` on another host."""
    import ray  # noqa: PLC0415  # as above

    return {
        str(folder): {path.name: ray.put(path.read_bytes()) for path in sorted(folder.iterdir())} for folder in folders
    }


def fetch(folder: Path, shipped: Mapping[str, Mapping[str, Any]], home: str) -> Path:
    """The folder itself on the driver's host; on any other a copy of it, among the temporary files of that host."""
    import ray  # noqa: PLC0415  # as above

    files = shipped.get(str(folder))
    if files is None or ray.util.get_node_ip_address() == home:  # type: ignore[no-untyped-call]
        return folder
    copy = Path(tempfile.mkdtemp(prefix="features-"))
    for name, content in files.items():
        (copy / name).write_bytes(ray.get(content))
    return copy


@contextmanager
def heard(here: str, on_epoch: Callable[[int, Epoch], None]) -> Iterator[str]:
    """An address; each line that is sent to it becomes a call of `on_epoch` in a thread of this process."""
    from training.loop import Epoch  # noqa: PLC0415  # imports torch

    server = socket.create_server((here, 0))

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # closed: the training is over
                return
            with connection, connection.makefile("r", encoding="ascii") as lines:
                for line in lines:
                    number, epoch = json.loads(line)
                    on_epoch(number, Epoch.model_validate(epoch))

    thread = threading.Thread(target=listen, name="epochs", daemon=True)
    thread.start()
    try:
        yield f"{here}:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5.0)


def tell(address: str) -> Any:
    """A text file whose lines go to an address of `heard`."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port))).makefile("w", encoding="ascii", buffering=1)
