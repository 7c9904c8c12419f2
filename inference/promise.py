"""A caller of the batcher's that waits for a future."""

from __future__ import annotations

import asyncio

from inference.contract.predictions import Predictions


class Promise:
    """A caller who waits for a future."""

    def __init__(self, future: asyncio.Future[Predictions]) -> None:
        self._future = future
        self._predictions: Predictions | None = None

    @property
    def done(self) -> bool:
        """Whether it is answered, or was cancelled."""
        return self._future.done()

    def write(self, predictions: Predictions) -> None:
        """Keep the answers."""
        self._predictions = predictions

    def send(self) -> None:
        """Give the answers."""
        if self._predictions is not None and not self._future.done():
            self._future.set_result(self._predictions)

    def fail(self, error: Exception) -> None:
        """Give the error."""
        self._future.set_exception(error)
