"""`--target`: which resources an operation may touch; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.engine import urns
from infra.engine.errors import EngineError
from infra.engine.state import Resource


@dataclass(frozen=True, slots=True)
class Targets:
    """Patterns of URNs: `*` stands for any text without a `:`, `**` for any text, as the real engine has it.

    Without patterns everything is a target. The stack itself and default providers always are: targets need them.
    """

    patterns: tuple[str, ...] = ()

    def has(self, urn: str) -> bool:
        """Whether a resource may be touched."""
        always = urns.is_default_provider(urn) or urns.type_of(urn) == urns.STACK_TYPE
        return not self.patterns or always or any(_matches(p, urn) for p in self.patterns)

    def names(self, urn: str) -> bool:
        """Whether a resource may be deleted or looked at: only what a pattern names."""
        return not self.patterns or any(_matches(p, urn) for p in self.patterns)

    def check(self, known: Iterable[str]) -> None:
        """Refuses a target that names nothing.

        Raises:
            EngineError: with the pattern.
        """
        seen = list(known)
        for pattern in self.patterns:
            if not any(_matches(pattern, urn) for urn in seen):
                raise EngineError(
                    f"--target {pattern}: no resource of this stack has that URN; `sagestage state export` shows them"
                )

    def check_deletion(self, left: Mapping[int, Resource]) -> None:
        """Refuses to delete what something needs that stays.

        Raises:
            EngineError: naming both.
        """
        if not self.patterns:
            return
        going = {r.urn for r in left.values() if self.names(r.urn)}
        for resource in left.values():
            needed = going.intersection(resource.needs()) if resource.urn not in going else set()
            if needed:
                raise EngineError(
                    f"{urns.label(min(needed))} cannot be deleted: {resource.urn} needs it and is no target; add "
                    f"--target {resource.urn}"
                )


def _matches(pattern: str, urn: str) -> bool:
    parts = re.split(r"(\*\*|\*)", pattern)
    expression = "".join({"**": ".*", "*": "[^:]*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, urn) is not None
