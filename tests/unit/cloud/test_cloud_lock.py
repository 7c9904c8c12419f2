import os
from pathlib import Path

from infra.cloud import lock


def test_a_held_lock_is_seen_and_cannot_be_had(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    assert not lock.is_held(path)
    descriptor = lock.acquire(path)
    assert descriptor is not None
    assert lock.is_held(path)
    assert lock.acquire(path) is None
    with lock.held(path, 0) as mine:
        assert not mine
    os.close(descriptor)
    assert not lock.is_held(path)
    with lock.held(path, 0) as mine:
        assert mine


def test_a_lock_lasts_until_everyone_who_inherited_it_has_left(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = lock.acquire(path)
    assert descriptor is not None
    inherited = os.dup(descriptor)
    os.close(descriptor)
    assert lock.is_held(path)
    os.close(inherited)
    assert not lock.is_held(path)
