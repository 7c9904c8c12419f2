"""`sagestage train --on sagemaker`: the same run as a training job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sagestage import aws, output
from sagestage.errors import SagestageError
from sagestage.project import Project

SAGEMAKER = "sagemaker"


OUTPUTS = {"training_image": "image", "training_role": "role", "training_bucket": "bucket"}
"""Outputs of a stack, and what of a job they say."""


def train(settings: Mapping[str, Any], on: str, of_job: Sequence[str], stack: str | None, *, dry_run: bool) -> None:
    """Print the job's request, or create the job.

    A stack's outputs say the image, the role and the bucket, unless `of_job` does, and the job runs where the stack is;
    without one it runs where the environment's credentials lead.

    Raises:
        SagestageError: no such place, or an option that is not NAME=VALUE.
    """
    from training import launch
    from training.config import TrainConfig

    if on != SAGEMAKER:
        raise SagestageError(f"--on {on}: train here, or on {SAGEMAKER}")
    config = TrainConfig.model_validate(dict(settings))
    project = None if stack is None else Project.find()
    told = {} if project is None or stack is None else outputs(project, stack)
    place = launch.Place.of(**{**told, **_place(of_job)})
    now = datetime.now(UTC)
    if dry_run:
        output.print_json(launch.request(config, place, now))
        return
    client = _client(project, stack)
    arn = launch.submit(config, place, now, client("sagemaker"), client("s3"))
    output.print_json({"arn": arn, "name": launch.job_name(config, now)})


def outputs(project: Project, stack: str) -> dict[str, str]:
    """What the stack's outputs say of a training job.

    Raises:
        SagestageError: it has none of them.
    """
    from sagestage import on_aws
    from sagestage.operations import export_state

    if _on_aws(project, stack):
        resources = on_aws.resources(project, stack)
    else:
        resources = json.loads(export_state(project, stack))["deployment"].get("resources") or []
    made = next((each.get("outputs") or {} for each in resources if each["type"] == "pulumi:pulumi:Stack"), {})
    found = {name: str(made[output]) for output, name in OUTPUTS.items() if output in made}
    if not found:
        raise SagestageError(
            f"stack {stack} has no output named {', '.join(OUTPUTS)}: export them from its program"
            f" (pulumi.export('training_role', …)), deploy it, or give --job role=… --job bucket=… --job image=…"
        )
    return found


def _on_aws(project: Project, stack: str) -> bool:
    from sagestage import engines, stackfile

    return engines.choose(None, stack, stackfile.read(project.root, stack)) == engines.AWS


def _client(project: Project | None, stack: str | None) -> Any:
    """What makes a client of a service, where the stack is."""
    if project is None or stack is None or _on_aws(project, stack):
        import boto3

        return boto3.client
    info = aws.running_cloud(project)
    return lambda service: aws.client(info, service)


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
