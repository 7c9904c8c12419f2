"""`sagestage monitor`: one window of an endpoint's captured traffic, now, by the same job that its schedule runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from sagestage import aws, output, report
from sagestage.errors import SagestageError

if TYPE_CHECKING:
    from rich.table import Table

    from sagestage.project import Project
    from training.monitor.job import Outcome

DRIFTED = 2


@dataclass(frozen=True)
class Request:
    """What the user wants to know.

    Attributes:
        endpoint: its name; None: the only one there is.
        window: how far back, such as 1h, in this machine's time.
        ground_truth: folder or s3:// prefix of labels.
        segment: a column to tell quality apart by.
        publish: whether the metrics go into CloudWatch.
        on: embedded, or aws: by the AWS credentials of the environment.
        expect_no_drift: exit code 2 when columns drifted.
    """

    endpoint: str | None = None
    window: str = "1h"
    ground_truth: str | None = None
    segment: str | None = None
    publish: bool = False
    on: str = "embedded"
    expect_no_drift: bool = False


def run(project: Project, request: Request, *, as_json: bool = False) -> int:
    """Look at a window and report; the exit code.

    Raises:
        SagestageError: no such endpoint, it captures nothing, or its models have no baseline.
    """
    from training.monitor import documents, publishing

    with _environment(project, request.on) as client, _explained():
        outcome = look(project, request, client)
        if request.publish:
            publishing.publish(outcome.settings.endpoint, outcome.metrics, datetime.now(UTC))
    if as_json:
        output.print_json(documents.summary(outcome) | {"report": f"{outcome.settings.output}/report.html"})
    else:
        console = output.console()
        console.print(table(outcome))
        for line in (*outcome.notes, *outcome.problems.lines()):
            console.print(f"[yellow]note[/] {escape(line)}", soft_wrap=True)
        console.print(f"report {outcome.settings.output}/report.html", highlight=False, soft_wrap=True)
    drifted = any(one.drifted for one in outcome.findings)
    return DRIFTED if drifted and request.expect_no_drift else 0


def look(project: Project, request: Request, client: Any) -> Outcome:
    """The outcome of one window; `client` makes an AWS client of a service.

    Raises:
        SagestageError: as `run`.
    """
    from training.monitor import job, window

    seconds = window.seconds(request.window)
    sagemaker = client("sagemaker")
    name = _endpoint(sagemaker, request.endpoint)
    described = sagemaker.describe_endpoint(EndpointName=name)
    config = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    capture = config.get("DataCaptureConfig")
    if not capture or not capture.get("EnableCapture"):
        raise SagestageError(f"endpoint {name} captures nothing: give it capture=Capture(percent=…, keep_days=…)")
    baselines = dict(_baselines(sagemaker, config))
    if not baselines:
        raise SagestageError(f"no variant of endpoint {name} has a model with an archive: there is no baseline")
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(
        seconds=1
    )  # captures tell whole seconds: this one counts
    span = window.Window(end - timedelta(seconds=seconds), end)
    folder = project.home / "monitor" / name / f"{end:%Y%m%dT%H%M%S}"
    return job.run(
        job.Settings(
            endpoint=name,
            captured=f"{capture['DestinationS3Uri'].rstrip('/')}/{name}",
            baselines=baselines,
            window=span,
            output=str(folder),
            truth=request.ground_truth,
            segment=request.segment,
        )
    )


def _endpoint(sagemaker: Any, wanted: str | None) -> str:
    pages = sagemaker.get_paginator("list_endpoints").paginate()
    names = [one["EndpointName"] for page in pages for one in page["Endpoints"]]
    if wanted is None and len(names) == 1:
        return str(names[0])
    if wanted is None:
        raise SagestageError(f"say which endpoint: there are {', '.join(sorted(names)) or 'none'}")
    if wanted not in names:
        raise SagestageError(f"there is no endpoint {wanted!r}: there are {', '.join(sorted(names)) or 'none'}")
    return wanted


def _baselines(sagemaker: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for variant in config["ProductionVariants"]:
        container = sagemaker.describe_model(ModelName=variant["ModelName"]).get("PrimaryContainer", {})
        if container.get("ModelDataUrl"):
            yield variant["VariantName"], container["ModelDataUrl"]


@contextmanager
def _environment(project: Project, on: str) -> Iterator[Any]:
    """What makes clients, of the embedded cloud or of AWS; Arrow and boto3 in this process find the same."""
    if on == "aws":
        import boto3

        with _variables(_of_aws()):
            yield boto3.client
        return
    if on != "embedded":
        raise SagestageError(f"--on {on}: choose embedded or aws")
    info = aws.running_cloud(project)
    with _variables(aws.environment(info)):
        yield lambda service: aws.client(info, service)


def _of_aws() -> dict[str, str]:
    """Credentials and region as boto3 finds them: Arrow, which reads the records, knows fewer places to look into."""
    import boto3

    session = boto3.Session()
    credentials = session.get_credentials()
    region = session.region_name or os.environ.get("AWS_REGION")  # boto3 knows AWS_DEFAULT_REGION only
    if credentials is None:
        raise SagestageError(
            "--on aws: there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if region is None:
        raise SagestageError("--on aws: there is no region: set AWS_REGION")
    found = credentials.get_frozen_credentials()
    keys = {"AWS_ACCESS_KEY_ID": found.access_key, "AWS_SECRET_ACCESS_KEY": found.secret_key}
    token = {"AWS_SESSION_TOKEN": found.token} if found.token else {}
    return {**keys, **token, "AWS_REGION": region, "AWS_DEFAULT_REGION": region}


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what AWS refuses, or that it does not answer, into one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise SagestageError(f"AWS refuses {error.operation_name}: {error.response['Error'].get('Message')}") from None
    except BotoCoreError as error:
        raise SagestageError(f"AWS cannot be asked: {error}") from None


def table(outcome: Outcome, shown: int = 12) -> Table:
    """The worst columns of each variant, beside what chance would give."""
    made = report.table(
        f"{outcome.settings.endpoint}: {outcome.settings.window}",
        "variant", "column", "index", "by chance", "at most", "missing", "", right=(2, 3, 4, 5),
    )  # fmt: skip
    for one in outcome.findings:
        if not one.known:
            continue
        metrics = outcome.metrics[one.variant]
        made.add_row(one.variant, f"[dim]{metrics_line(metrics)}[/]", "", "", "", "", "")
        for column in ([*([one.prediction] if one.prediction else []), *one.monitored])[:shown]:
            luck = column.chance
            verdict = "[red]drifted[/]" if column.drifted else "[green]as trained[/]" if luck else "too few rows"
            made.add_row(
                "", escape(column.scale.name), f"{column.index:.3f}", f"{luck.mean:.3f}" if luck else "-",
                f"{luck.bound:.3f}" if luck else "-", f"{column.missing:.1%}", verdict,
            )  # fmt: skip
        made.add_section()
    return made


def metrics_line(metrics: Mapping[Any, float]) -> str:
    """A variant's metrics in one line."""
    return " ".join(f"{name}={value:.3g}" for name, value in metrics.items())
