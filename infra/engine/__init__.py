"""The embedded Pulumi engine: runs an unmodified Pulumi program in this process, with providers called directly."""

from infra.engine.engine import PLACEHOLDER, Engine, Options
from infra.engine.errors import EngineError
from infra.engine.importing import Import
from infra.engine.planner import Op
from infra.engine.plugins import ProviderFactory
from infra.engine.result import Change, Diagnostic, Event, Result, Step, StepDone, StepFailed, StepStarted
from infra.engine.values import UNKNOWN, Secret

__all__ = [
    "PLACEHOLDER",
    "UNKNOWN",
    "Change",
    "Diagnostic",
    "Engine",
    "EngineError",
    "Event",
    "Import",
    "Op",
    "Options",
    "ProviderFactory",
    "Result",
    "Secret",
    "Step",
    "StepDone",
    "StepFailed",
    "StepStarted",
]
