"""The form in which SageMaker gives a training job: JSON files and channels below a base directory.

input/config/hyperparameters.json   settings of TrainConfig, all values texts
input/config/inputdataconfig.json   the channels (may be absent)
input/config/resourceconfig.json    the hosts (may be absent): the first drives, the others help it
input/data/<channel>/               CSV or Parquet files
checkpoints/                        what an interrupted job goes on from, where the job has it
model/                              what serving will unpack
output/data/metrics.json            metrics and counts
output/data/report.html             the same, to look at
output/data/statistics.json, constraints.json, drift.json   the baseline for drift
output/failure                      why it failed; SageMaker shows the first 1024 characters
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from inference.contract import artifact
from training.config import TrainConfig
from training.errors import ConfigError, DataError, TrainingError
from training.hosts import Hosts
from training.run import TrainResult

BASE_VARIABLE = "SAGESTAGE_BASE_DIR"
DEFAULT_BASE = "/opt/ml"
CHECKPOINTS = "checkpoints"
FAILURE_CHARACTERS = 1_024
PREFERRED_CHANNELS = ("training", "train")
TOOLKIT_PREFIXES = ("sagemaker_", "_tuning_")
"""Hyperparameters that AWS's SDKs add for their own toolkits."""


def base_directory() -> Path:
    """Where the container's files are: /opt/ml, or the folder that SAGESTAGE_BASE_DIR names."""
    return Path(os.environ.get(BASE_VARIABLE, DEFAULT_BASE))


def read(base: Path) -> TrainConfig:
    """The settings of the job.

    Raises:
        TrainingError: a file is not as SageMaker writes it, a setting is wrong.
    """
    together = hosts(base)
    settings = {
        name.replace("-", "_"): _plain(value)
        for name, value in _json(base / "input/config/hyperparameters.json").items()
        if not name.startswith(TOOLKIT_PREFIXES)
    }
    reserved = sorted({"data", "output"} & settings.keys())
    if reserved:
        raise ConfigError([f"hyperparameter {name!r} is not for SageMaker: it has its own place" for name in reserved])
    if (base / CHECKPOINTS).is_dir():  # SageMaker makes it where the job asks for checkpoints, and keeps it in S3
        settings.setdefault("checkpoint", str(base / CHECKPOINTS))
    if together.several:  # a worker on each of them, unless the job says more
        settings.setdefault("workers", len(together.names))
    return TrainConfig.model_validate({**settings, "data": channel(base), "output": base / "output/work"})


def hosts(base: Path) -> Hosts:
    """The hosts of the job.

    Raises:
        TrainingError: they do not go together.
    """
    return Hosts.of(_json(base / "input/config/resourceconfig.json"))


def channel(base: Path) -> Path:
    """The folder of the training channel.

    Raises:
        DataError: no channel, or several without one named training or train.
    """
    folder = base / "input/data"
    channels = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not channels:
        raise DataError(f"{folder}: there is no channel: give the job one named training")
    preferred = [folder / name for name in PREFERRED_CHANNELS if folder / name in channels]
    if not preferred and len(channels) > 1:
        raise DataError(f"{folder}: channels {', '.join(path.name for path in channels)}: name one training")
    return preferred[0] if preferred else channels[0]


def write_model(base: Path, result: TrainResult) -> None:
    """Lay the archive's members into model/ (SageMaker packs them again), and the metrics into output/data."""
    if result.artifact is not None:
        artifact.unpack(result.artifact, base / "model")
        for path in result.artifact.parent.glob("*.json"):
            shutil.copyfile(path, _made(base / "output/data" / path.name))
    shutil.copyfile(result.report, _made(base / "output/data/report.html"))
    discard(base)
    report = {
        "metrics": result.metrics,
        "intervals": {name: [one.low, one.high] for name, one in result.evaluation.intervals.items()},
        "baselines": {one.name: one.metrics for one in result.evaluation.baselines},
        "gates": {str(check.gate): check.passed for check in result.verdict.checks},
        "rows": result.rows,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "warnings": result.warnings,
    }
    path = _made(base / "output/data/metrics.json")
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def discard(base: Path) -> None:
    """Remove what a run works with."""
    shutil.rmtree(base / "output/work", ignore_errors=True)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_failure(base: Path, reason: str) -> None:
    """Say why, where SageMaker looks."""
    path = base / "output/failure"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(reason[:FAILURE_CHARACTERS], encoding="utf-8")


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a file; an absent file is an empty one."""
    try:
        content: Any = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: must hold an object, holds {type(content).__name__}")
    return content


def _plain(value: Any) -> Any:
    """A hyperparameter's value; the SageMaker SDK writes texts and lists as JSON within the text."""
    if isinstance(value, str) and value[:1] in ('"', "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
