"""An update that shifts traffic step by step must keep the variants' names: found in a plan, pure.

Source: SageMaker, deployment guardrails, exclusions: the new configuration has the same variant names as the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sagestage.errors import SagestageError
from sagestage.scaling_in import Live, Step, configured


class RenamingError(SagestageError):
    """SageMaker would refuse the update, after everything before it was done."""

    exit_code = 4


def refuse(steps: Iterable[Step], live: Live) -> None:
    """Refuse a plan that shifts an endpoint's traffic in steps to variants that it does not have.

    Args:
        steps: the plan of either engine.
        live: the variants that the endpoints run; an endpoint that is not there is not checked.

    Raises:
        RenamingError: with both sets of names of each such endpoint.
    """
    problems = []
    for endpoint, configuration in configured(steps):
        name = str(endpoint.inputs.get("name"))
        now = set(live.get(name, ()))
        variants = configuration.inputs.get("productionVariants")
        new = {str(one.get("variantName")) for one in variants} if isinstance(variants, list) else now
        kind = _shifting(endpoint.inputs.get("deploymentConfig"))
        if now and kind and new != now:
            problems.append(f"{name} runs {', '.join(sorted(now))}, and the {kind} goes to {', '.join(sorted(new))}")
    if problems:
        raise RenamingError(
            f"SageMaker refuses an update in steps that changes the variants: {'; '.join(problems)}. Keep the names"
            " (by role, never by version), or give this one update deploy=AllAtOnce()"
        )


def _shifting(deployment: Any) -> str | None:
    """What an update in steps is called, or None for one that moves all the traffic at once."""
    if not isinstance(deployment, Mapping):
        return None
    if "rollingUpdatePolicy" in deployment:
        return "rolling update"
    policy = deployment.get("blueGreenUpdatePolicy") or {}
    kind = str((policy.get("trafficRoutingConfiguration") or {}).get("type"))
    return f"{kind.lower()} update" if kind in {"CANARY", "LINEAR"} else None
