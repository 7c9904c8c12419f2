"""The state file: read, written whole or not at all, and locked while an operation runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from infra.engine.errors import EngineError
from infra.engine.secrets import Crypter
from infra.engine.state import (
    VERSION,
    Operation,
    Resource,
    Snapshot,
    check_integrity,
    manifest,
    resource_from_json,
    resource_to_json,
)


class Store:
    """The state of one stack at `path`: the JSON that `pulumi stack export` prints and `pulumi stack import` reads.

    `crypter(salt)` makes the crypter for a state whose verifier is `salt` (None: the state has no secret yet).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: dict[int, tuple[Resource, str]] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the stack for one operation. The kernel frees the lock when the process ends, however it ends.

        Raises:
            EngineError: another process holds it; the message has its pid.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise EngineError(
                    f"stack {self.path.stem!r} is locked by process {lock.read().strip() or '(starting)'}, which is "
                    "deploying it; wait for it to end, or end it"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def salt(self) -> str | None:
        """The verifier of the state's secrets, without decrypting any."""
        providers = (self._read() or {}).get("secrets_providers") or {}
        if providers and providers.get("type") != "passphrase":
            raise EngineError(
                f"{self.path}: secrets of type {providers.get('type')!r}; the embedded engine knows passphrase only: "
                "use the CLI that made this state"
            )
        salt = (providers.get("state") or {}).get("salt")
        return salt if isinstance(salt, str) else None

    def load(self, crypter: Crypter) -> Snapshot:
        """The state; an empty one where there is none yet.

        Raises:
            EngineError: the file is cut short, from a newer version, or no state of ours.
        """
        data = self._read()
        if data is None:
            return Snapshot()
        try:
            resources = tuple(resource_from_json(r, crypter) for r in data.get("resources") or ())
            pending = tuple(
                Operation(resource_from_json(o["resource"], crypter), o["type"])
                for o in data.get("pending_operations") or ()
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise EngineError(
                f"{self.path}: not a state ({type(error).__name__}: {error}); restore it from {self._backup}"
            ) from error
        check_integrity(resources, str(self.path))
        return Snapshot(resources, pending, self.salt(), data.get("metadata") or {})

    def save(self, snapshot: Snapshot, crypter: Crypter) -> None:
        """Replaces the state: after a crash there is the old one or the new one, never half of one."""
        crypter.verify()
        resources = [self._text(r, crypter) for r in snapshot.resources]
        pending = [f'{{"resource":{self._text(o.resource, crypter)},"type":"{o.type}"}}' for o in snapshot.pending]
        head: dict[str, Any] = {"manifest": manifest(now(), f"sagestage-{_version()}")}
        if crypter.state:
            head["secrets_providers"] = {"type": "passphrase", "state": {"salt": crypter.state}}
        body = json.dumps(head)[:-1]
        if resources:
            body += ', "resources": [\n' + ",\n".join(resources) + "\n]"
        if pending:
            body += ', "pending_operations": [\n' + ",\n".join(pending) + "\n]"
        body += f', "metadata": {json.dumps(dict(snapshot.metadata))}}}'
        _replace(self.path, f'{{"version": {VERSION}, "deployment": {body}}}\n')
        alive = {id(r) for r in snapshot.resources} | {id(o.resource) for o in snapshot.pending}
        self._written = {k: v for k, v in self._written.items() if k in alive}

    def export(self) -> str:
        """The state, indented; one without resources where there is none yet."""
        deployment = self._read() or {"manifest": manifest(now(), f"sagestage-{_version()}")}
        return json.dumps({"version": VERSION, "deployment": deployment}, indent=4) + "\n"

    def back_up(self) -> None:
        """Keeps the state as it is now beside itself, for people: nothing here reads it."""
        if self.path.exists():
            _replace(self._backup, self.path.read_text(encoding="utf-8"))

    @property
    def _backup(self) -> Path:
        return self.path.with_suffix(".json.bak")

    def _text(self, resource: Resource, crypter: Crypter) -> str:
        """A resource's JSON. Made once for each: a state of n resources is written n times in one deployment."""
        known = self._written.get(id(resource))
        if known is None:
            known = resource, json.dumps(resource_to_json(resource, crypter))
            self._written[id(resource)] = known
        return known[1]

    def _read(self) -> dict[str, Any] | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EngineError(f"{self.path}: {error.strerror}; make the file readable") from error
        try:
            data = json.loads(text)
            version, deployment = data["version"], data["deployment"]
            if not isinstance(deployment, dict):
                raise TypeError("no deployment")  # noqa: TRY301 - told below, in the same words
        except (ValueError, TypeError, KeyError) as error:
            raise EngineError(
                f"{self.path}: the state is cut short or no state ({len(text)} characters, {error}); "
                f"restore it from {self._backup}"
            ) from error
        if version != VERSION:
            raise EngineError(f"{self.path}: state version {version!r}, this engine reads {VERSION}; update sagestage")
        return deployment


def now() -> str:
    """The time, as checkpoints have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _version() -> str:
    try:
        return metadata.version("sagestage")
    except metadata.PackageNotFoundError:
        return "dev"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
