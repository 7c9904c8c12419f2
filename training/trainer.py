"""Ray Train's TorchTrainer without the helpers that it starts for every run and that a run of ours has no use for.

Each helper is a process that imports Ray and pandas for seconds, on the CPUs that the workers start on. They are left
out by hooks that are Ray's own affair: a Ray that has other ones starts what it likes, and trains as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

UNUSED = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Shards of Ray Data (rows are read from files), and cleaning up behind a dead controller (Ray ends with the run)."""


def trainer(train: Callable[..., Any], **arguments: Any) -> TorchTrainer:
    """The TorchTrainer of these arguments."""
    from ray.train.torch import TorchTrainer  # noqa: PLC0415  # takes seconds, in the thread of PrivateRay

    base: Any = TorchTrainer  # the declared type is that of an older Ray Train

    class Lean(base):  # type: ignore[misc]  # as said
        def _create_default_callbacks(self) -> list[Any]:
            callbacks: list[Any] = super()._create_default_callbacks()
            return [one for one in callbacks if type(one).__name__ not in UNUSED]

        def _initialize_and_run_controller(self, *args: Any, **parts: Any) -> Any:
            fixed = parts.get("scaling_policy")
            if type(fixed).__name__ == "FixedScalingPolicy":
                parts["scaling_policy"] = _unasked(type(fixed))(self.scaling_config)
            return super()._initialize_and_run_controller(*args, **parts)

    made: TorchTrainer = Lean(train, **arguments)
    return made


def _unasked(policy: Any) -> Any:
    """A policy that asks nobody for machines: those that there are were counted before."""

    class Unasked(policy):  # type: ignore[misc]  # its base is known when Ray is
        def after_controller_start(self, _run: Any) -> None:
            pass

        def _maybe_send_resource_request(self) -> None:
            pass

    return Unasked
