"""What the environment says: SageMaker's own variables and SAGESTAGE_* ones, read once, checked all together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from inference.contract.schema import Frozen
from inference.errors import StartError

MB = 2**20
SAGEMAKER_DEADLINE_S = 60.0
"""SageMaker drops an invocation after 60 s (InvokeEndpoint's documentation)."""
DRAIN_S = 25.0
"""SageMaker kills 30 s after SIGTERM: draining ends before that."""

ONE_WORKER = 1


class SettingsError(StartError):
    """The environment holds values that cannot be used; the message lists all of them."""


class Settings(Frozen):
    """How one server runs. Every field has the environment variable of `VARIABLES`."""

    host: str = "0.0.0.0"  # noqa: S104  # a container's port is published by its runtime; hosting passes 127.0.0.1
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    base_dir: Path = Path("/opt/ml")
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    predictor: Literal["auto", "numpy", "torch"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    autocast: Literal["none", "bf16", "fp16"] = "none"
    max_payload_mb: Annotated[int, Field(ge=1, le=1024)] = 6
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 55.0
    workers: int = ONE_WORKER
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    max_batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_queue_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    access_log: bool = False

    @field_validator("workers")
    @classmethod
    def _one_worker_for_now(cls, workers: int) -> int:
        if workers != ONE_WORKER:
            raise ValueError("must be 1: this version runs one worker a process; add instances instead")
        return workers

    @property
    def model(self) -> Path:
        """Where the unpacked model lies, unless the command line names another place."""
        return self.base_dir / "model"

    @property
    def max_payload_bytes(self) -> int:
        """The largest body that is read."""
        return self.max_payload_mb * MB


VARIABLES = {
    "host": "SAGESTAGE_HOST",
    "port": "SAGEMAKER_BIND_TO_PORT",
    "base_dir": "SAGESTAGE_BASE_DIR",
    "model_sha256": "SAGESTAGE_MODEL_SHA256",
    "predictor": "SAGESTAGE_PREDICTOR",
    "device": "SAGESTAGE_DEVICE",
    "autocast": "SAGESTAGE_AUTOCAST",
    "max_payload_mb": "SAGEMAKER_MAX_PAYLOAD_IN_MB",
    "deadline_s": "SAGEMAKER_MODEL_SERVER_TIMEOUT",
    "workers": "SAGEMAKER_MODEL_SERVER_WORKERS",
    "threads": "SAGESTAGE_THREADS",
    "max_batch_rows": "SAGESTAGE_MAX_BATCH_ROWS",
    "max_wait_ms": "SAGESTAGE_MAX_WAIT_MS",
    "max_requests": "SAGESTAGE_MAX_REQUESTS",
    "max_queue_rows": "SAGESTAGE_MAX_QUEUE_ROWS",
    "access_log": "SAGESTAGE_ACCESS_LOG",
}
"""The environment variable of each setting; one that is set but empty counts as not set."""


def from_environment(environment: Mapping[str, str], **overrides: str | int | None) -> Settings:
    """The settings that the environment gives; an override (from the command line) that is not None wins.

    Raises:
        SettingsError: values that do not fit, every one with its variable and what it must be.
    """
    given: dict[str, Any] = {
        name: environment[variable].strip() for name, variable in VARIABLES.items() if environment.get(variable)
    }
    given |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = [
            f"{VARIABLES[str(one['loc'][0])]}={one['input']!r}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from None
