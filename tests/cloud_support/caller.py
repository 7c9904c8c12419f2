"""A client at a constant rate, which remembers every answer and every error."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

RATE = 60  # requests a second, of all threads
THREADS = 3


class Caller:
    """Calls an endpoint until it is told to stop.

    Attributes:
        errors: the code of each error that came.
        seen: (moment, body) of each answer; moments are time.monotonic().
    """

    def __init__(self, runtime: Any, endpoint: str) -> None:
        self._runtime = runtime
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.errors: Counter[str] = Counter()
        self.answered = 0

    def loop(self, offset: int) -> None:
        due = time.monotonic() + offset / RATE
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += THREADS / RATE
            try:
                self._runtime.invoke_endpoint(EndpointName=self._endpoint, Body=b"{}")["Body"].read()
            except ClientError as error:
                with self._lock:
                    self.errors[error.response["Error"]["Code"]] += 1
            except BotoCoreError as error:
                with self._lock:
                    self.errors[type(error).__name__] += 1
            with self._lock:
                self.answered += 1

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def calling(runtime: Any, endpoint: str) -> Iterator[Caller]:
    """Call an endpoint from three threads, at a constant rate together."""
    caller = Caller(runtime, endpoint)
    threads = [threading.Thread(target=caller.loop, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield caller
    finally:
        caller.stop()
        for thread in threads:
            thread.join()
