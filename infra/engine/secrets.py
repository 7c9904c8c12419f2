"""Secrets at rest, in Pulumi's own passphrase format.

`v1:<salt>:v1:<nonce>:<ciphertext>` is the verifier that state and stack files carry ("pulumi", encrypted);
`v1:<nonce>:<ciphertext>` is a value. Source: pulumi/sdk/go/common/resource/config/crypt.go and
pulumi/pkg/secrets/passphrase/manager.go. The key takes half a second to derive, so that is done only where there is a
secret, and once in a process.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.engine.errors import EngineError

_ITERATIONS = 1_000_000  # Pulumi's; fewer would make a state that Pulumi cannot read
_PROOF = "pulumi"


def passphrase(environment: Mapping[str, str], home: Path) -> str:
    """The passphrase: PULUMI_CONFIG_PASSPHRASE, the file that PULUMI_CONFIG_PASSPHRASE_FILE names, or our own.

    Our own is random, made on first need in `home/passphrase`, which only its owner can read.

    Raises:
        EngineError: the named file cannot be read.
    """
    if "PULUMI_CONFIG_PASSPHRASE" in environment:
        return environment["PULUMI_CONFIG_PASSPHRASE"]
    named = environment.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    path = Path(named) if named else home / "passphrase"
    try:
        if not named:
            home.mkdir(parents=True, exist_ok=True)
            _make_once(path)
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        variable = "PULUMI_CONFIG_PASSPHRASE_FILE" if named else "the passphrase file"
        raise EngineError(f"{variable} {path}: {error.strerror}; set PULUMI_CONFIG_PASSPHRASE instead") from error


def _make_once(path: Path) -> None:
    """Writes a random passphrase unless there is one; two processes at once end up with the same one."""
    if path.exists():
        return
    made = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(secrets.token_urlsafe(32))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


@functools.lru_cache(maxsize=16)
def _key(phrase: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", phrase.encode(), salt, _ITERATIONS, dklen=32)


class Crypter:
    """Encrypts and decrypts the secrets of one stack; derives its key at the first use.

    `phrase` is asked for the passphrase then. `state` is the verifier found in a state or stack file; without one, a
    new salt is made at the first encryption.
    """

    def __init__(self, phrase: Callable[[], str], state: str | None = None) -> None:
        self._phrase, self._state = phrase, state
        self._cipher: AESGCM | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> str | None:
        """The verifier to store beside the secrets; None while nothing has been encrypted."""
        return self._state

    def verify(self) -> None:
        """Refuses a wrong passphrase now, where there is a verifier."""
        if self._state is not None:
            self._ready()

    def encrypt(self, text: str) -> str:
        """The ciphertext of `text`, as `v1:<nonce>:<ciphertext>`."""
        return _seal(self._ready(), text)

    def decrypt(self, sealed: str) -> str:
        """The text behind a ciphertext.

        Raises:
            EngineError: the passphrase is wrong, or the value was altered.
        """
        cipher = self._ready()
        try:
            return _open(cipher, sealed)
        except (InvalidTag, ValueError) as error:
            raise EngineError(
                f"a secret cannot be decrypted ({sealed[:24]}…): it was altered or belongs to another stack; "
                "set it again with `pulumi config set --secret`"
            ) from error

    def _ready(self) -> AESGCM:
        with self._lock:
            if self._cipher is None:
                if self._state is None:
                    salt = os.urandom(8)
                    self._cipher = AESGCM(_key(self._phrase(), salt))
                    self._state = f"v1:{base64.b64encode(salt).decode()}:{_seal(self._cipher, _PROOF)}"
                else:
                    self._cipher = self._verified(self._state)
            return self._cipher

    def _verified(self, state: str) -> AESGCM:
        version, _, rest = state.partition(":")
        salt, _, proof = rest.partition(":")
        if version != "v1" or not proof:
            raise EngineError(
                f"encryption salt {state!r}: expected v1:<salt>:<proof>; restore the file's encryptionsalt"
            )
        try:
            cipher = AESGCM(_key(self._phrase(), base64.b64decode(salt)))
            if _open(cipher, proof) == _PROOF:
                return cipher
        except (InvalidTag, ValueError):
            pass  # told below, like a proof that says something else
        raise EngineError("incorrect passphrase: set PULUMI_CONFIG_PASSPHRASE to the one that this stack was made with")


def _seal(cipher: AESGCM, text: str) -> str:
    nonce = os.urandom(12)
    body = cipher.encrypt(nonce, text.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(body).decode()}"


def _open(cipher: AESGCM, sealed: str) -> str:
    version, nonce, body = sealed.split(":")
    if version != "v1":
        raise ValueError(version)
    return cipher.decrypt(base64.b64decode(nonce), base64.b64decode(body), None).decode()
