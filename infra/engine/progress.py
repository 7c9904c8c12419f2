"""The progress of an operation: which steps were begun, done and failed, and who is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from infra.engine import urns
from infra.engine.errors import ProviderError
from infra.engine.planner import Diff, Op
from infra.engine.result import Event, OnEvent, Step, StepDone, StepFailed, StepStarted, changes
from infra.engine.values import Properties


class Skipped(Exception):  # noqa: N818 - no error of its own: something failed before
    """Nothing more is begun, because a step failed or the operation was interrupted."""


class Progress:
    """Keeps the record of an operation. After a failure nothing more begins; what has begun ends."""

    def __init__(self, on_event: OnEvent) -> None:
        self.done: list[Step] = []
        self.failures: list[StepFailed] = []
        self._on_event = on_event
        self._lock = threading.RLock()
        self._stopped = threading.Event()

    def step(
        self, op: Op, urn: str, type_: str = "", diff: Diff | None = None, reason: str = "", **sides: Properties
    ) -> Step:
        """A step on a resource; `sides` are the `old` and `new` inputs that its diff is shown with."""
        found = diff or Diff()
        listed = changes(found, sides.get("old", {}), sides.get("new", {})) if diff else ()
        return Step(
            op,
            urn,
            type_ or urns.type_of(urn),
            urns.name_of(urn),
            found.changed,
            found.replaces,
            listed,
            reason,
            sides.get("new", {}),
        )

    def tell(self, event: Event) -> None:
        """Passes an event on; one at a time."""
        with self._lock:
            self._on_event(event)

    def fail(self, failure: StepFailed) -> None:
        """Records a failure: what runs ends well, nothing more begins."""
        with self._lock:
            self.failures.append(failure)
            self._stopped.set()
            self._on_event(failure)

    def refuse(self, urn: str, type_: str, message: str, op: Op = Op.CREATE) -> None:
        """Records that a resource could not even be planned."""
        self.fail(StepFailed(self.step(op, urn, type_), message))

    def stop(self) -> None:
        """Begins nothing more."""
        self._stopped.set()

    def go_on(self) -> None:
        """Raises Skipped after a failure."""
        if self._stopped.is_set():
            raise Skipped

    @contextmanager
    def told(self, step: Step) -> Iterator[None]:
        """Tells the beginning and the end of a step; a provider's refusal becomes a failure, and Skipped is raised."""
        self.go_on()
        self.tell(StepStarted(step))
        began = perf_counter()
        try:
            yield
        except ProviderError as error:
            unknown = "; whether it was done is not known, the next run looks" if error.uncertain else ""
            self.fail(StepFailed(step, f"{error}{unknown}"))
            raise Skipped from error
        with self._lock:
            self.done.append(step)
        self.tell(StepDone(step, perf_counter() - began))

    @property
    def stopped(self) -> bool:
        """Whether something failed, or the operation was interrupted."""
        return self._stopped.is_set()
