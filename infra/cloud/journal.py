"""What a cloud was told, on disk: a cloud that was killed comes back with it.

Calls to moto that change something are kept one a line in `calls.jsonl`, and are made again, in their order, when the
next life begins; a seed with each makes moto draw the same identifiers. What hosting and CloudWatch know is kept as
whole documents, each in a file that is replaced. No pickles: all of it is JSON, and bodies are files named by their
SHA-256. It is written before a caller is answered, without waiting for the disk: it outlives the process, and not the
power.
"""

import base64
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.cloud.errors import JournalError

FOLDER = "journal"
_CALLS, _BLOBS = "calls.jsonl", "blobs"
_INLINE_BYTES = 2048
log = logging.getLogger(__name__)


class Journal:
    """The journal of one home. Its methods may be called from any thread.

    Args:
        home: the cloud's folder.
        fresh: forget what an earlier life left.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, home: Path, *, fresh: bool = False) -> None:
        self._folder = home / FOLDER
        self._lock = threading.Lock()
        self._said: dict[str, bytes] = {}
        if fresh:
            forget(home)
        (self._folder / _BLOBS).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        self._calls = os.open(self._folder / _CALLS, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._drop_torn_line()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._calls)

    def append(self, entry: Mapping[str, Any], body: bytes) -> None:
        """Keep a call and its body.

        Raises:
            JournalError: the disk is full, or gone; nothing of the call is kept.
        """
        try:
            self._append(entry, body)
        except OSError as error:
            raise JournalError(error.strerror) from error

    def _append(self, entry: Mapping[str, Any], body: bytes) -> None:
        is_small = len(body) <= _INLINE_BYTES
        kept = {"body": base64.b64encode(body).decode()} if is_small else {"blob": self._blob(body)}
        line = json.dumps({**entry, **kept}, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            end = os.fstat(self._calls).st_size
            written = 0
            try:
                while written < len(line):  # a short write is followed by one that says why
                    written += os.write(self._calls, line[written:])
            except OSError:
                os.ftruncate(self._calls, end)
                raise

    def calls(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Every call that was kept, the oldest first. One that cannot be read is left out, with a word in the log."""
        with (self._folder / _CALLS).open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    entry = json.loads(line)
                    blob = entry.pop("blob", None)
                    inline = base64.b64decode(entry.pop("body", ""))
                    body = inline if blob is None else (self._folder / _BLOBS / blob).read_bytes()
                except (ValueError, OSError) as error:
                    log.warning("journal: line %d is left out: %s", number, error)
                    continue
                yield entry, body

    def save(self, name: str, document: Any) -> None:
        """Keep a document in place of the one of that name.

        Raises:
            JournalError: the disk is full, or gone; the earlier document stays.
        """
        text = json.dumps(document, default=str, separators=(",", ":")).encode()
        with self._lock:
            if self._said.get(name) == text:
                return
            draft = self._folder / f"{name}.tmp"
            try:
                draft.write_bytes(text)
                draft.chmod(0o600)
                draft.replace(self._folder / f"{name}.json")
            except OSError as error:
                raise JournalError(error.strerror) from error
            self._said[name] = text

    def load(self, name: str) -> Any:
        """A document; None when there is none, or when it cannot be read."""
        try:
            return json.loads((self._folder / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            log.warning("journal: %s is left out: %s", name, error)
            return None

    def _blob(self, body: bytes) -> str:
        name = hashlib.sha256(body).hexdigest()
        place = self._folder / _BLOBS / name
        if not place.exists():
            draft = place.with_suffix(f".{threading.get_ident()}.tmp")
            try:
                draft.write_bytes(body)
                draft.replace(place)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
        return name

    def _drop_torn_line(self) -> None:
        """A life that ended while it wrote may have left half a line."""
        data = (self._folder / _CALLS).read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._calls, whole)


def forget(home: Path) -> None:
    """Remove a home's journal."""
    shutil.rmtree(home / FOLDER, ignore_errors=True)
