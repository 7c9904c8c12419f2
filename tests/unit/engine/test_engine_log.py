"""The log beside the state file: what a process that died has left is read with the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine.journal import Entry, Journal
from infra.engine.secrets import Crypter
from infra.engine.state import Operation, Resource, Snapshot
from infra.engine.store import Store
from infra.engine.values import Secret

URN = "urn:pulumi:dev::lab::t:i:T::"
BASE = Snapshot((Resource(URN + "a", "t:i:T", id="1"), Resource(URN + "b", "t:i:T", id="2")))


def crypter(state: str | None = None) -> Crypter:
    return Crypter(lambda: "phrase", state)


def deployed(path: Path) -> tuple[Store, Journal, Snapshot]:
    """A state that an operation has changed step by step, and whose process then died."""
    store, seal = Store(path), crypter()
    store.save(BASE, seal)
    journal = Journal(store.load(seal), lambda entries: store.append(entries, seal))
    journal.settle(journal.old(0), 0)
    with journal.operation("creating", Resource(URN + "c", "t:i:T")):
        journal.settle(Resource(URN + "c", "t:i:T", id="3", outputs={"token": Secret("s3cret")}))
    journal.drop(1)
    journal.save()
    store.close()
    return store, journal, journal.snapshot()


def test_the_state_of_a_process_that_died_is_file_and_log(tmp_path: Path) -> None:
    store, _, expected = deployed(tmp_path / "dev.json")
    again = Store(store.path)
    assert again.interrupted
    found = again.load(crypter(again.salt()))
    assert [(r.urn, r.id) for r in found.resources] == [(r.urn, r.id) for r in expected.resources]
    assert found.resources[-1].outputs == {"token": Secret("s3cret")}
    assert "s3cret" not in store.path.with_suffix(".json.log").read_text()


def test_every_prefix_of_the_log_is_a_state(tmp_path: Path) -> None:
    store, _, _ = deployed(tmp_path / "dev.json")
    log = store.path.with_suffix(".json.log")
    whole = log.read_bytes()
    seen = set()
    for length in range(len(whole) + 1):
        log.write_bytes(whole[:length])
        state = Store(store.path).load(crypter(Store(store.path).salt() or None)) if length % 7 == 0 else None
        if state is not None:
            seen.add((len(state.resources), tuple(o.type for o in state.pending)))
    assert {(2, ()), (2, ("creating",))} <= seen


def test_a_log_of_an_earlier_state_is_no_part_of_a_later_one(tmp_path: Path) -> None:
    store, _, _ = deployed(tmp_path / "dev.json")
    log = store.path.with_suffix(".json.log")
    left = log.read_bytes()
    store.save(BASE, crypter())
    assert not log.exists()
    store.save(Snapshot(BASE.resources[:1]), crypter())
    log.write_bytes(left)
    assert not Store(store.path).interrupted
    assert len(Store(store.path).load(crypter()).resources) == 1


def test_an_entry_of_another_state_is_told() -> None:
    with pytest.raises(TypeError, match="journal entry 'fly'"):
        Journal(BASE).replay([Entry("fly")])


def test_a_change_under_way_is_pending_after_a_replay() -> None:
    written: list[Entry] = []
    journal = Journal(BASE, written.extend)
    with pytest.raises(KeyboardInterrupt), journal.operation("deleting", BASE.resources[1]):
        raise KeyboardInterrupt
    assert Journal(BASE).replay(written).pending == (Operation(BASE.resources[1], "deleting"),)


def test_what_only_moves_is_not_written() -> None:
    written: list[Entry] = []
    journal = Journal(BASE, written.extend)
    for index, resource in enumerate(BASE.resources):
        journal.settle(resource, index)
        journal.save()
    assert (written, journal.changed) == ([], False)
