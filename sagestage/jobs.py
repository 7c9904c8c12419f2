"""`sagestage train --on sagemaker`: the same run as a training job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sagestage import output
from sagestage.errors import SagestageError

SAGEMAKER = "sagemaker"


def train(settings: Mapping[str, Any], on: str, of_job: Sequence[str], *, dry_run: bool) -> None:
    """Print the job's request, or create the job.

    Raises:
        SagestageError: no such place, or an option that is not NAME=VALUE.
    """
    from training import launch
    from training.config import TrainConfig

    if on != SAGEMAKER:
        raise SagestageError(f"--on {on}: train here, or on {SAGEMAKER}")
    config = TrainConfig.model_validate(dict(settings))
    place = launch.Place.of(**_place(of_job))
    now = datetime.now(UTC)
    if dry_run:
        output.print_json(launch.request(config, place, now))
        return
    import boto3

    sagemaker: Any = boto3.client("sagemaker")  # Any: its declared arguments are those of one version of boto3
    arn = launch.submit(config, place, now, sagemaker, boto3.client("s3"))
    output.print_json({"arn": arn, "name": launch.job_name(config, now)})


def _place(options: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; `tag:KEY=VALUE` gives a tag."""
    found: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise SagestageError(f"--job {option}: give NAME=VALUE, such as instance_type=ml.m6i.xlarge")
        if name.startswith("tag:"):
            tags[name.removeprefix("tag:")] = value
        else:
            found[name] = value
    return found | ({"tags": tags} if tags else {})
