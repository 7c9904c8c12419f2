"""The state file: read, written whole or not at all, and locked while an operation runs.

While it runs, its steps go to a log beside the file, a line each, and the file is written once at the end: a step costs
the same in a state of ten resources and of a thousand. A log that a process which died has left is read with the file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from infra.engine.errors import EngineError
from infra.engine.journal import Entry, Journal
from infra.engine.secrets import Crypter
from infra.engine.state import (
    VERSION,
    Operation,
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
        self._log: TextIO | None = None

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
            try:
                yield
            finally:
                self.close()

    def salt(self) -> str | None:
        """The verifier of the state's secrets, without decrypting any."""
        providers = (self._read() or {}).get("secrets_providers") or {}
        if providers and providers.get("type") != "passphrase":
            raise EngineError(
                f"{self.path}: secrets of type {providers.get('type')!r}; the embedded engine knows passphrase only: "
                "use the CLI that made this state"
            )
        salt = (providers.get("state") or {}).get("salt") or next(
            (e["salt"] for e in self._lines() if "salt" in e), None
        )
        return salt if isinstance(salt, str) else None

    def load(self, crypter: Crypter) -> Snapshot:
        """The state; an empty one where there is none yet.

        Raises:
            EngineError: the file is cut short, from a newer version, or no state of ours.
        """
        data = self._read() or {}
        try:
            resources = tuple(resource_from_json(r, crypter) for r in data.get("resources") or ())
            pending = tuple(
                Operation(resource_from_json(o["resource"], crypter), o["type"])
                for o in data.get("pending_operations") or ()
            )
            read = Snapshot(resources, pending, self.salt(), data.get("metadata") or {})
            entries = [_entry(line, crypter) for line in self._lines() if "kind" in line]
            read = Journal(read).replay(entries) if entries else read
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise EngineError(
                f"{self.path}: not a state ({type(error).__name__}: {error}); restore it from {self._backup}"
            ) from error
        check_integrity(read.resources, str(self.path))
        return read

    @property
    def interrupted(self) -> bool:
        """Whether a process that died has left a log."""
        return bool(self._lines())

    def append(self, entries: Iterable[Entry], crypter: Crypter) -> None:
        """Writes what a step has changed; after a crash it is there, or no part of it is."""
        crypter.verify()
        lines = [json.dumps(_line(entry, crypter)) for entry in entries]
        if crypter.state:
            lines.insert(0, json.dumps({"salt": crypter.state}))  # before the secrets that need it
        if self._log is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._log = os.fdopen(descriptor, "w", encoding="utf-8")
            lines.insert(0, json.dumps({"base": self._digest()}))
        self._log.write("".join(f"{line}\n" for line in lines))
        self._log.flush()
        os.fsync(self._log.fileno())

    def save(self, snapshot: Snapshot, crypter: Crypter) -> None:
        """Replaces the state: after a crash there is the old one or the new one, never half of one."""
        crypter.verify()
        resources = [json.dumps(resource_to_json(r, crypter)) for r in snapshot.resources]
        pending = [
            json.dumps({"resource": resource_to_json(o.resource, crypter), "type": o.type}) for o in snapshot.pending
        ]
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
        self.close()
        self._log_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the log, which stays where it is."""
        if self._log is not None:
            self._log.close()
            self._log = None

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

    @property
    def _log_path(self) -> Path:
        return self.path.with_suffix(".json.log")

    def _digest(self) -> str:
        """Which state a log goes on from."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest() if self.path.exists() else ""

    def _lines(self) -> list[dict[str, Any]]:
        """The log's lines, as far as they were written whole; none where the file was written after the log."""
        try:
            text = self._log_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines(keepends=True):
            try:
                lines.append(json.loads(line))
            except ValueError:
                break  # its process died while it wrote: what the line tells was not begun, or is found out by looking
            if not line.endswith("\n"):
                break
        return lines[1:] if lines and lines[0] == {"base": self._digest()} else []

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


def _line(entry: Entry, crypter: Crypter) -> dict[str, Any]:
    resource = {} if entry.resource is None else {"resource": resource_to_json(entry.resource, crypter)}
    rest = {"number": entry.number, "text": entry.text, "urn": entry.urn}
    return {"kind": entry.kind, **resource, **{name: value for name, value in rest.items() if value not in (None, "")}}


def _entry(line: dict[str, Any], crypter: Crypter) -> Entry:
    resource = resource_from_json(line["resource"], crypter) if "resource" in line else None
    return Entry(line["kind"], line.get("number"), resource, line.get("text", ""), line.get("urn", ""))


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
