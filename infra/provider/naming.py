"""Names that the provider makes up, as the real one does: `<logical name>-<7 hex digits>`."""

import hashlib
import secrets
from dataclasses import dataclass

RANDOM_DIGITS = 7


@dataclass(frozen=True)
class AutoName:
    """Which property holds the physical name, and what AWS allows in it.

    `limit` is AWS's own maximum length in characters; `start` stands before every made-up name (`alias/`).
    """

    property: str = "name"
    limit: int = 255
    lower: bool = False
    start: str = ""

    def make(self, logical: str, seed: bytes) -> str:
        """A fresh physical name for the logical one; the same seed gives the same name.

        Raises:
            ValueError: the name would be longer than AWS allows.
        """
        return self.with_prefix(f"{self.start}{logical.lower() if self.lower else logical}-", seed)

    def with_prefix(self, prefix: str, seed: bytes) -> str:
        """A fresh name that begins with the prefix.

        Raises:
            ValueError: the name would be longer than AWS allows.
        """
        digits = hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex(RANDOM_DIGITS)
        name = f"{prefix}{digits[:RANDOM_DIGITS]}"
        if len(name) > self.limit:
            raise ValueError(
                f"the name {name!r} has {len(name)} characters and AWS allows {self.limit}: "
                f"shorten the resource's name or give {self.property} yourself"
            )
        return name
