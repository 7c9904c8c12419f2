"""What the small commands do; the rehearsal has a module of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.markup import escape

from sagestage import aws, output, report
from sagestage.errors import GateError, SagestageError
from sagestage.progress import Stages
from sagestage.project import Project

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

DATA_BYTES = 6_291_456
"""The most that InvokeEndpoint takes (AWS documentation of the SageMaker runtime)."""


def train(project: Project, settings: Mapping[str, Any], *, gates: tuple[str, ...], as_json: bool) -> None:
    """Train one model into the project's artifacts.

    Raises:
        GateError: the model misses its gate; it is not packaged.
    """
    from sagestage import models

    console = output.console(as_json=as_json)
    with Stages(console) as stages:
        trained = models.train(project, [settings], gates, stages)
    model = trained.models[0]
    if as_json:
        output.print_json(model.to_json())
    else:
        console.print(report.metrics_table([model]))
    if not as_json:
        console.print(f"Report: {escape(str(model.result.report))}", highlight=False, soft_wrap=True)
    if model.archive is not None and not as_json:
        console.print(f"Next: sagestage serve {escape(str(model.archive))}", highlight=False, soft_wrap=True)
    if not model.passed:
        raise GateError(report.gate_sentence([model]))


def cloud_start(
    project: Project,
    *,
    port: int | None,
    max_instances: int,
    time_scale: float | None = None,
    hosting: str | None = None,
    fresh: bool = False,
    as_json: bool,
) -> None:
    """Start the embedded AWS."""
    from infra.cloud import control

    if hosting not in (None, "process", "container"):
        raise SagestageError(f"--hosting {hosting}: choose process or container")
    info = control.start(
        project.cloud, port=port, max_instances=max_instances, time_scale=time_scale, hosting=hosting, fresh=fresh
    )
    if as_json:
        output.print_json(info.model_dump(mode="json"))
        return
    console = output.console()
    console.print(f"The embedded AWS answers at [bold]{info.url}[/] (process {info.pid}).", highlight=False)
    most = f"A variant gets at most {info.max_instances} processes, whatever its instance count (--max-instances)."
    console.print(most, highlight=False)
    if info.time_scale != 1:
        console.print(f"Waits and alarm periods pass {info.time_scale:g} times faster than declared.", highlight=False)
    console.print('Next: eval "$(sagestage cloud env)"; then any AWS client talks to it.', highlight=False)


def cloud_stop(project: Project, *, keep: bool = False, as_json: bool) -> None:
    """Stop it, and every process that it started."""
    from infra.cloud import control

    stopped = control.stop(project.cloud, keep=keep)
    if as_json:
        output.print_json({"stopped": stopped})
    else:
        output.console().print(
            "The embedded AWS and its endpoints are stopped." if stopped else "The embedded AWS was not running."
        )


def cloud_status(project: Project, *, as_json: bool) -> None:
    """Where it runs; exit code 1 when it does not."""
    info = aws.running_cloud(project)
    if as_json:
        output.print_json(info.model_dump(mode="json"))
    else:
        output.console().print(
            f"{info.url} (process {info.pid}, region {info.region}, at most {info.max_instances} processes a variant,"
            f" time {info.time_scale:g} times as fast)",
            highlight=False,
        )


def cloud_env(project: Project, *, as_json: bool) -> None:
    """Shell commands that point AWS clients at it."""
    variables = aws.environment(aws.running_cloud(project))
    if as_json:
        output.print_json(variables)
        return
    for name, value in variables.items():
        sys.stdout.write(f"export {name}={value}\n")
    sys.stdout.write("unset AWS_PROFILE AWS_SESSION_TOKEN\n")


@dataclass(frozen=True)
class Target:
    """Who shall answer: a variant by name, or the variant of a user; both None leave it to the weights."""

    variant: str | None = None
    user: str | None = None
    salt: str | None = None

    def choose(self, sagemaker: SageMakerClient, endpoint: str) -> str | None:
        """The TargetVariant. Raises SagestageError when both a variant and a user are named."""
        if self.user is None:
            return self.variant
        if self.variant is not None:
            raise SagestageError("--variant and --user exclude each other: give one of them")
        from inference import router

        variants = sagemaker.describe_endpoint(EndpointName=endpoint).get("ProductionVariants", [])
        weights = {str(one["VariantName"]): float(one.get("CurrentWeight", 0.0)) for one in variants}
        return router.choose(self.user, weights, salt=endpoint if self.salt is None else self.salt)


def invoke(
    project: Project,
    endpoint: str | None,
    *,
    data: str,
    target: Target,
    content_type: str,
    accept: str,
    region: str | None = None,
) -> None:
    """Send one request and print the answer's body; who answered goes to standard error."""
    from botocore.exceptions import ClientError

    info = aws.running_cloud(project, region)
    name = endpoint or _only_endpoint(aws.client(info, "sagemaker"))
    body = sys.stdin.buffer.read() if data == "-" else Path(data).read_bytes()
    if len(body) > DATA_BYTES:
        raise SagestageError(f"the body has {len(body)} bytes; InvokeEndpoint takes at most {DATA_BYTES}")
    try:
        variant = target.choose(aws.client(info, "sagemaker"), name)
        answer = aws.client(info, "sagemaker-runtime").invoke_endpoint(
            EndpointName=name,
            Body=body,
            ContentType=content_type,
            Accept=accept,
            **({} if variant is None else {"TargetVariant": variant}),
        )
    except ClientError as error:
        raise SagestageError(_reason(error.response)) from error
    sys.stdout.buffer.write(answer["Body"].read().rstrip(b"\n") + b"\n")
    output.console(as_json=True).print(f"[dim]answered by {escape(answer['InvokedProductionVariant'])}[/]")


def _reason(response: Mapping[str, Any]) -> str:
    """What the container said, where it was the container that refused; AWS's message otherwise."""
    message = str(response.get("OriginalMessage") or response["Error"]["Message"])
    try:
        said = orjson.loads(message)
    except orjson.JSONDecodeError:
        return message
    return str(said["error"]) if isinstance(said, dict) and "error" in said else message


def _only_endpoint(sagemaker: Any) -> str:
    names = [found["EndpointName"] for found in sagemaker.list_endpoints()["Endpoints"]]
    if len(names) != 1:
        raise SagestageError(f"name the endpoint: there are {', '.join(names) or 'none (sagestage up makes one)'}")
    return str(names[0])


def status(project: Project, *, as_json: bool, region: str | None = None) -> None:
    """The cloud, its endpoints in a region and their variants."""
    from infra.cloud import control

    info = control.status(project.cloud)
    if info is not None and region is not None:
        info = info.model_copy(update={"region": region})
    endpoints = [] if info is None else describe_endpoints(aws.client(info, "sagemaker"))
    if as_json:
        output.print_json({"cloud": None if info is None else info.model_dump(mode="json"), "endpoints": endpoints})
        return
    console = output.console()
    if info is None:
        console.print("The embedded AWS does not run. Next: sagestage rehearse, or sagestage cloud start")
        return
    console.print(f"The embedded AWS answers at [bold]{info.url}[/] (process {info.pid}).", highlight=False)
    most = f"A variant gets at most {info.max_instances} processes, whatever its instance count (--max-instances)."
    console.print(most, highlight=False)
    nothing = f"No endpoints in {info.region} (--region looks elsewhere). Next: sagestage up"
    console.print(report.endpoints_table(endpoints) if endpoints else nothing)


def describe_endpoints(sagemaker: Any) -> list[dict[str, Any]]:
    """Each endpoint with its status, its configuration and its variants."""
    found = []
    for page in sagemaker.get_paginator("list_endpoints").paginate():
        for summary in page["Endpoints"]:
            endpoint = sagemaker.describe_endpoint(EndpointName=summary["EndpointName"])
            found.append(
                {
                    "name": endpoint["EndpointName"],
                    "status": endpoint["EndpointStatus"],
                    "reason": endpoint.get("FailureReason"),
                    "config": endpoint["EndpointConfigName"],
                    "variants": [
                        {
                            "name": variant["VariantName"],
                            "weight": variant.get("CurrentWeight"),
                            "instances": variant.get("CurrentInstanceCount"),
                        }
                        for variant in endpoint.get("ProductionVariants", [])
                    ],
                }
            )
    return found
