"""A plan that replaces an endpoint is an outage: its name is fixed, so the old one goes before the new one comes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from sagestage import scaling_in
from sagestage.errors import SagestageError

if TYPE_CHECKING:
    from infra.engine.result import Change

ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
_REPLACING = frozenset({"replace", "create-replacement", "delete-replaced"})


class Step(scaling_in.Step, Protocol):
    """A step of either engine's plan, with what forces a replacement."""

    @property
    def name(self) -> str:
        """Pulumi's name of the resource."""

    @property
    def replace_keys(self) -> tuple[str, ...]:
        """The properties that force it."""

    @property
    def diff(self) -> tuple[Change, ...]:
        """The differences, property by property."""


class ReplacementError(SagestageError):
    """The plan would take an endpoint away for minutes."""

    exit_code = 4


def refuse(steps: Iterable[Step]) -> None:
    """Refuse a plan in which an endpoint is replaced.

    Raises:
        ReplacementError: one is; the message names it, and the properties that force it.
    """
    found: dict[str, set[str]] = {}
    for step in steps:
        if step.type == ENDPOINT and str(step.op) in _REPLACING:
            forced = [one.path for one in step.diff if one.kind.endswith("replace")]
            found.setdefault(step.name, set()).update(forced or step.replace_keys)
    if found:
        why = "; ".join(f"{name}: {', '.join(sorted(paths)) or 'its dependencies'}" for name, paths in found.items())
        raise ReplacementError(
            f"this would replace the endpoint, which is an outage ({why}):"
            " change these back, or say --allow-endpoint-replacement"
        )
