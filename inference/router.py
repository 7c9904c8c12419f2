"""Which variant a user gets: the same one always, in every process and language.

Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005). Each variant gets a score for the user from a hash
of its own name, and the best score wins. A score depends on no other variant: when one weight changes, users move only
to or from that variant, and the order in which variants are given does not matter.

    u(variant) = (first 8 bytes of SHA-256(salt 00 variant 00 user), big-endian, >> 11, + 0.5) / 2**53
    score(variant) = -ln(u) / weight, and the lowest wins

Texts are UTF-8; 00 is a zero byte, which no name contains. docs/serving.md has test vectors. A salt of its own makes an
experiment independent of others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Protocol

from inference.contract.errors import ContractError

_BITS = 53  # what a float64 holds exactly, in every language
_SPAN = float(2**_BITS)


class RoutingError(ContractError):
    """The weights, the salt or the user cannot be used; the message names the value."""


class Runtime(Protocol):
    """A boto3 `sagemaker-runtime` client."""

    def invoke_endpoint(self, **request: Any) -> Mapping[str, Any]:
        """One invocation."""


def uniform(salt: str, variant: str, user: str) -> float:
    """A number in (0, 1) that only the three texts decide."""
    digest = hashlib.sha256(b"\0".join(text.encode() for text in (salt, variant, user))).digest()
    return ((int.from_bytes(digest[:8], "big") >> (64 - _BITS)) + 0.5) / _SPAN


def choose(user: str, weights: Mapping[str, float], *, salt: str) -> str:
    """The variant of this user. Variants with weight 0 get nobody.

    Raises:
        RoutingError: no positive weight, a negative or infinite one, or a zero byte in a text.
    """
    for variant, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise RoutingError(f"weight {weight!r} of variant {variant!r}: must be 0 or more, and finite")
    if odd := [text for text in (salt, user, *weights) if "\0" in text]:
        raise RoutingError(f"{odd[0]!r} contains a zero byte")
    positive = {variant: weight for variant, weight in weights.items() if weight > 0}
    if not positive:
        raise RoutingError(f"no variant has a positive weight: {dict(weights)}")
    return min(positive, key=lambda variant: (-math.log(uniform(salt, variant, user)) / positive[variant], variant))


class Router:
    """Sends each user's requests to that user's variant, through a boto3 `sagemaker-runtime` client.

    Example:
        router = Router(boto3.client("sagemaker-runtime"), "shop-prod-demand", {"champion": 90, "challenger": 10},
                        salt="spring-prices")
        answer = router.invoke("user-17", Body=body, ContentType="application/json")
    """

    def __init__(self, runtime: Runtime, endpoint: str, weights: Mapping[str, float], *, salt: str) -> None:
        choose("", weights, salt=salt)  # complain now, not at the first user
        self._runtime = runtime
        self._endpoint = endpoint
        self._weights = dict(weights)
        self._salt = salt

    def variant(self, user: str) -> str:
        """The user's variant."""
        return choose(user, self._weights, salt=self._salt)

    def invoke(self, user: str, **request: Any) -> Mapping[str, Any]:
        """`invoke_endpoint` with this endpoint and the user's TargetVariant; the rest is passed on."""
        return self._runtime.invoke_endpoint(EndpointName=self._endpoint, TargetVariant=self.variant(user), **request)
