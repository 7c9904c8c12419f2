"""What a stack is made of: the public names.

Imported lazily, so that the parts of this package which need no Pulumi (the specs, the embedded cloud) load without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.buckets import Artifacts
    from infra.dashboard import Dashboard
    from infra.endpoint import Endpoint
    from infra.errors import InfraError, SpecError
    from infra.model import Model
    from infra.monitor import Monitor
    from infra.monitor_spec import Quality, Retraining
    from infra.platform import Budget, Registry, Repository
    from infra.spec import (
        Alarm,
        AllAtOnce,
        Async,
        Canary,
        Capture,
        Composite,
        Container,
        Linear,
        Network,
        Rolling,
        Scaling,
        Schedule,
        Serverless,
        Variant,
    )
    from infra.topic import Topic

_HOMES = {
    "Alarm": "spec",
    "AllAtOnce": "spec",
    "Artifacts": "buckets",
    "Async": "spec",
    "Budget": "platform",
    "Canary": "spec",
    "Capture": "spec",
    "Composite": "spec",
    "Container": "spec",
    "Dashboard": "dashboard",
    "Endpoint": "endpoint",
    "InfraError": "errors",
    "Linear": "spec",
    "Model": "model",
    "Monitor": "monitor",
    "Network": "spec",
    "Quality": "monitor_spec",
    "Registry": "platform",
    "Repository": "platform",
    "Retraining": "monitor_spec",
    "Rolling": "spec",
    "Scaling": "spec",
    "Schedule": "spec",
    "Serverless": "spec",
    "SpecError": "errors",
    "Topic": "topic",
    "Variant": "spec",
}

__all__ = [
    "Alarm",
    "AllAtOnce",
    "Artifacts",
    "Async",
    "Budget",
    "Canary",
    "Capture",
    "Composite",
    "Container",
    "Dashboard",
    "Endpoint",
    "InfraError",
    "Linear",
    "Model",
    "Monitor",
    "Network",
    "Quality",
    "Registry",
    "Repository",
    "Retraining",
    "Rolling",
    "Scaling",
    "Schedule",
    "Serverless",
    "SpecError",
    "Topic",
    "Variant",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'infra' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"infra.{_HOMES[name]}"), name)
