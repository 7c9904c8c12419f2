"""What a stack is made of: the public names.

Imported lazily, so that the parts of this package which need no Pulumi (the specs, the embedded cloud) load without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.dashboard import Dashboard
    from infra.endpoint import Endpoint
    from infra.errors import InfraError, SpecError
    from infra.model import Model
    from infra.spec import Alarm, AllAtOnce, Canary, Capture, Scaling, Variant

_HOMES = {
    "Alarm": "spec",
    "AllAtOnce": "spec",
    "Canary": "spec",
    "Capture": "spec",
    "Dashboard": "dashboard",
    "Endpoint": "endpoint",
    "InfraError": "errors",
    "Model": "model",
    "Scaling": "spec",
    "SpecError": "errors",
    "Variant": "spec",
}

__all__ = [
    "Alarm",
    "AllAtOnce",
    "Canary",
    "Capture",
    "Dashboard",
    "Endpoint",
    "InfraError",
    "Model",
    "Scaling",
    "SpecError",
    "Variant",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'infra' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"infra.{_HOMES[name]}"), name)
