"""The state while an operation runs: what is new, what is left of the old, what is under way. Saved at each step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from infra.engine.state import Operation, Resource, Snapshot


class Journal:
    """Keeps a snapshot up to date through an operation and hands it to `save` after every change.

    An old resource is known by its index in the snapshot that the operation began with, since a URN can stand there
    twice (a replaced resource that waits for its deletion). The order of what is saved is an order of dependency:
    what this operation has settled, as it was settled, then what is left of the old.
    """

    def __init__(self, base: Snapshot, save: Callable[[Snapshot], None]) -> None:
        self._base, self._save = base, save
        self._lock = threading.RLock()
        self._old: dict[int, Resource] = dict(enumerate(base.resources))
        self._new: dict[str, Resource] = {}
        self._pending: dict[int, Operation] = {}
        self._tickets = 0
        self._saved = base
        self._writing = threading.Lock()
        self._version = self._written = 0

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        with self._lock:
            return replace(
                self._base,
                resources=(*self._new.values(), *self._old.values()),
                pending=tuple(self._pending.values()),
            )

    def old(self, index: int) -> Resource:
        """What is left of an old resource; a KeyError where nothing is."""
        with self._lock:
            return self._old[index]

    def left(self) -> dict[int, Resource]:
        """Every old resource that no step has settled yet, in order of dependency."""
        with self._lock:
            return dict(self._old)

    def new(self, urn: str) -> Resource | None:
        """What this operation has made of a resource, if it has settled it."""
        with self._lock:
            return self._new.get(urn)

    @contextlib.contextmanager
    def operation(self, kind: str, resource: Resource) -> Iterator[None]:
        """Records that a change is under way, before it begins. Its end is saved together with what it made.

        When the provider refuses, the operation is over and nothing was changed; when the process dies, the record
        stays in the file. So it does when the block ends in anything but an ordinary exception.
        """
        with self._lock:
            self._tickets += 1
            ticket = self._tickets
            self._pending[ticket] = Operation(resource, kind)
        self.save()
        try:
            yield
        except Exception:
            self._over(ticket)
            raise
        self._over(ticket)

    def _over(self, ticket: int) -> None:
        with self._lock:
            del self._pending[ticket]
        self.save()

    def settle(self, resource: Resource, index: int | None = None) -> None:
        """A resource is as the program wants it; `index` is what it was before, which is no more. Saved with `save`."""
        with self._lock:
            self._new[resource.urn] = resource
            if index is not None:
                self._old.pop(index, None)

    def mark(self, index: int, resource: Resource) -> None:
        """An old resource has to be remembered differently: it was replaced, or deleted to be replaced."""
        with self._lock:
            self._old[index] = resource

    def append(self, resource: Resource) -> None:
        """A resource that the state did not know is there: it is treated like an old one."""
        with self._lock:
            self._old[max(self._old, default=-1) + 1] = resource

    def drop(self, index: int) -> None:
        """An old resource is gone."""
        with self._lock:
            self._old.pop(index, None)

    def alias(self, earlier: str, urn: str) -> None:
        """What is left of the old refers to a resource by its new URN from now on."""
        with self._lock:
            self._old = {i: r.renamed({earlier: urn}) for i, r in self._old.items()}

    def save(self) -> None:
        """Hands the state to its keeper, unless nothing but its order has changed since the last time.

        Steps that wait here together are saved together: whoever comes first writes what all of them have changed.
        """
        with self._lock:
            self._version += 1
            mine = self._version
        with self._writing:
            if self._written >= mine:
                return
            with self._lock:
                state, version = self.snapshot(), self._version
            if not _same(state, self._saved):
                self._save(state)
                self._saved = state
            self._written = version


def _same(one: Snapshot, other: Snapshot) -> bool:
    if len(one.resources) != len(other.resources) or one.pending != other.pending:
        return False
    known = {id(r) for r in other.resources}
    return all(id(r) in known for r in one.resources)
