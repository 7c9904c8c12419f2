"""The state while an operation runs: what is new, what is left of the old, what is under way. Saved at each step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from infra.engine.state import Operation, Resource, Snapshot


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a journal: what was done, with which resource, and its number: an old one's index, or a ticket's.

    `kind` is settle, mark, append, drop, alias, begin or end; `text` an operation's type, or an alias's earlier URN.
    """

    kind: str
    number: int | None = None
    resource: Resource | None = None
    text: str = ""
    urn: str = ""


class Journal:
    """Keeps a snapshot up to date through an operation, and hands what changed to `append` at every step.

    An old resource is known by its index in the snapshot that the operation began with, since a URN can stand there
    twice (a replaced resource that waits for its deletion). The order of what is saved is an order of dependency:
    what this operation has settled, as it was settled, then what is left of the old. The same entries on the same
    snapshot make the same state again (`replay`): a step costs as much as it changes, however large the state is.
    """

    def __init__(self, base: Snapshot, append: Callable[[list[Entry]], None] = lambda _: None) -> None:
        self._base, self._append = base, append
        self._lock = threading.RLock()
        self._old: dict[int, Resource] = dict(enumerate(base.resources))
        self._next = len(self._old)
        self._new: dict[str, Resource] = {}
        self._pending: dict[int, Operation] = {}
        self._tickets = 0
        self._entries: list[Entry] = []
        self._changed = False
        self.changed = False
        """Whether anything but the order of the resources is different from the snapshot at the beginning."""
        self._writing = threading.Lock()
        self._version = self._written = 0

    def replay(self, entries: Iterable[Entry]) -> Snapshot:
        """The state after these entries.

        Raises:
            KeyError, TypeError: they belong to another snapshot.
        """
        for entry in entries:
            match entry.kind, entry.resource, entry.number:
                case "settle", Resource() as resource, number:
                    self.settle(resource, number)
                case "mark", Resource() as resource, int(number):
                    self.mark(number, resource)
                case "append", Resource() as resource, _:
                    self.append(resource)
                case "begin", Resource() as resource, int(number):
                    self._pending[number] = Operation(resource, entry.text)
                case "drop", _, int(number):
                    self.drop(number)
                case "end", _, int(number):
                    del self._pending[number]
                case "alias", _, _:
                    self.alias(entry.text, entry.urn)
                case _:
                    raise TypeError(f"journal entry {entry.kind!r}")
        return self.snapshot()

    def _note(self, entry: Entry, *, changes: bool = True) -> None:
        self._entries.append(entry)
        self._changed = self._changed or changes
        self.changed = self.changed or changes

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
        stays in the file. So it does when the block ends in anything but an ordinary exception, or in one that is
        `uncertain`.
        """
        with self._lock:
            self._tickets += 1
            ticket = self._tickets
            self._pending[ticket] = Operation(resource, kind)
            self._note(Entry("begin", ticket, resource, kind))
        self.save()
        try:
            yield
        except Exception as error:
            if getattr(error, "uncertain", False):
                self.save()
            else:
                self._over(ticket)
            raise
        self._over(ticket)

    def _over(self, ticket: int) -> None:
        with self._lock:
            del self._pending[ticket]
            self._note(Entry("end", ticket))
        self.save()

    def settle(self, resource: Resource, index: int | None = None) -> None:
        """A resource is as the program wants it; `index` is what it was before, which is no more. Saved with `save`."""
        with self._lock:
            before = self._new.get(resource.urn) if index is None else self._old.pop(index, None)
            self._new[resource.urn] = resource
            self._note(Entry("settle", index, resource), changes=before is not resource)

    def mark(self, index: int, resource: Resource) -> None:
        """An old resource has to be remembered differently: it was replaced, or deleted to be replaced."""
        with self._lock:
            self._old[index] = resource
            self._note(Entry("mark", index, resource))

    def append(self, resource: Resource) -> int:
        """A resource that the state did not know is there: it is treated like an old one, under the index answered."""
        with self._lock:
            index = self._next
            self._next += 1
            self._old[index] = resource
            self._note(Entry("append", resource=resource))
            return index

    def drop(self, index: int) -> None:
        """An old resource is gone."""
        with self._lock:
            if self._old.pop(index, None) is not None:
                self._note(Entry("drop", index))

    def alias(self, earlier: str, urn: str) -> None:
        """What is left of the old refers to a resource by its new URN from now on."""
        with self._lock:
            self._old = {i: r.renamed({earlier: urn}) for i, r in self._old.items()}
            self._note(Entry("alias", text=earlier, urn=urn), changes=False)

    def save(self) -> None:
        """Hands what has changed to its keeper, unless that is nothing but the order.

        Steps that wait here together are saved together: whoever comes first writes what all of them have changed.
        """
        with self._lock:
            self._version += 1
            mine = self._version
        with self._writing:
            if self._written >= mine:
                return
            with self._lock:
                entries, version = self._entries, self._version
                if self._changed:
                    self._entries, self._changed = [], False
                else:
                    entries = []
            if entries:
                self._append(entries)
            self._written = version
