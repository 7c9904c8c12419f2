"""Which engine runs a stack, and what makes a stack for AWS run on the embedded one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from infra.provider.config import ENDPOINT_NAMES
from sagestage import stackfile
from sagestage.aws import KEY
from sagestage.errors import SagestageError

EMBEDDED: Final = "embedded"
AWS: Final = "aws"
NOWHERE: Final = "http://127.0.0.1:9"
"""The discard port: where a preview without a cloud would send what it never sends."""
KEPT: Final = frozenset({"aws:region", "aws:defaultTags", "aws:allowedAccountIds"})
"""What of a stack's provider configuration still means something on the embedded cloud."""


def choose(on: str | None, stack: str, config: Mapping[str, Any]) -> str:
    """The engine that was asked for, or the one that fits the stack.

    Raises:
        SagestageError: there is none of that name, or a stack for this machine was to go to AWS.
    """
    local = stackfile.is_embedded(config)
    if on is None:
        return EMBEDDED if local else AWS
    if on not in (EMBEDDED, AWS):
        raise SagestageError(f"--on {on}: choose {EMBEDDED} or {AWS}")
    if on == AWS and local:
        raise SagestageError(f"stack {stack!r} has its aws:endpoints on this machine: --on aws needs a stack for AWS")
    return on


def overrides(config: Mapping[str, Any], url: str | None) -> dict[str, Any]:
    """What takes the place of a stack's provider configuration, so that nothing of it leads to AWS."""
    address = url or NOWHERE
    names = {name for many in ENDPOINT_NAMES.values() for name in many}
    dropped: dict[str, Any] = {key: None for key in config if key.startswith("aws:") and key not in KEPT}
    return dropped | {
        "aws:accessKey": KEY,
        "aws:secretKey": KEY,
        "aws:endpoints": [dict.fromkeys(sorted(names), address)],
    }
