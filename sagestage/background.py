"""Threads that work as long as a context lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def running(works: Sequence[Callable[[], None]], stop: threading.Event) -> Iterator[None]:
    """Run each of the works in a thread of its own; at the end `stop` is set, which ends them, and they are awaited."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
