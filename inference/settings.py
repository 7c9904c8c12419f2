"""What the environment says: SageMaker's own variables and SAGESTAGE_* ones, read once, checked all together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from inference.contract.schema import Frozen
from inference.errors import StartError

MB = 2**20
SAGEMAKER_DEADLINE_S = 60.0
"""SageMaker drops an invocation after 60 s (InvokeEndpoint's documentation)."""
DRAIN_S = 25.0
"""SageMaker kills 30 s after SIGTERM: draining ends before that."""


class SettingsError(StartError):
    """The environment holds values that cannot be used; the message lists all of them."""


class Settings(Frozen):
    """How one server runs. Every field has the environment variable of `VARIABLES`."""

    host: str = "0.0.0.0"  # noqa: S104  # a container's port is published by its runtime; hosting passes 127.0.0.1
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    base_dir: Path = Path("/opt/ml")
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    predictor: Literal["auto", "numpy", "onnx", "torch", "compile"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    autocast: Literal["none", "bf16", "fp16"] = "none"
    max_payload_mb: Annotated[int, Field(ge=1, le=1024)] = 6
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 55.0
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    max_batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    max_requests: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_queue_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    header_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    access_log: bool = False
    unseen_levels: Literal["accept", "reject"] = "accept"

    cache_items: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    cache_ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    emf_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    multi_model: bool = False
    entry: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    max_models: Annotated[int, Field(ge=1, le=1000)] = 64
    models_memory_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 1024

    @model_validator(mode="after")
    def _must_go_together(self) -> Self:
        if self.cache_items and self.workers > 1:
            raise ValueError(
                "SAGESTAGE_CACHE_ITEMS needs SAGEMAKER_MODEL_SERVER_WORKERS=1: each worker would keep its own answers,"
                " and the same request would hit or miss by chance"
            )
        return self

    def gpu_of(self, worker: int) -> dict[str, str]:
        """The environment that gives a worker its one GPU; nothing on machines without, and for CPU predictors."""
        gpus = sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))
        if self.device == "cpu" or gpus == 0 or "CUDA_VISIBLE_DEVICES" in os.environ:
            return {}
        return {"CUDA_VISIBLE_DEVICES": str(worker % gpus)}

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
    "header_timeout_s": "SAGESTAGE_HEADER_TIMEOUT_S",
    "access_log": "SAGESTAGE_ACCESS_LOG",
    "unseen_levels": "SAGESTAGE_UNSEEN_LEVELS",
    "cache_items": "SAGESTAGE_CACHE_ITEMS",
    "cache_ttl_s": "SAGESTAGE_CACHE_TTL_S",
    "emf_s": "SAGESTAGE_EMF_S",
    "entry": "SAGESTAGE_ENTRY",
    "multi_model": "SAGEMAKER_MULTI_MODEL",
    "max_models": "SAGESTAGE_MAX_MODELS",
    "models_memory_mb": "SAGESTAGE_MODELS_MEMORY_MB",
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
            (f"{VARIABLES[str(one['loc'][0])]}={one['input']!r}: " if one["loc"] else "")
            + one["msg"].removeprefix("Value error, ")
            for one in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from None
