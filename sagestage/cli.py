"""`sagestage …`: the commands. Heavy parts are imported inside them, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from sagestage import commands, images_cli, output, stack_cli
from sagestage.errors import SagestageError
from sagestage.options import Json, Region
from sagestage.project import Project

app = typer.Typer(
    name="sagestage",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Deploy models to AWS SageMaker with Pulumi, and rehearse the whole deployment on this machine.",
    epilog="Begin with: sagestage rehearse",
)
cloud_app = typer.Typer(no_args_is_help=True, help="The embedded AWS on this machine.")
app.add_typer(cloud_app, name="cloud")
bench_app = typer.Typer(no_args_is_help=True, help="Measure on this machine.")
app.add_typer(bench_app, name="bench")
app.add_typer(images_cli.app, name="images")
app.add_typer(stack_cli.app)

OUR_PACKAGES = frozenset({"sagestage", "infra", "inference", "training"})


@app.callback()
def before(*, debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Read the options that stand before the command."""
    output.settings.debug = debug


@app.command(epilog="Example: sagestage rehearse --data bikes.csv --target cnt --order-by dteday,hr --gate 'r2>=0.85'")
def rehearse(
    *,
    data: Annotated[Path | None, typer.Option(help="CSV or Parquet. Without it, demand data is generated.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    order_by: Annotated[str, typer.Option(help="Columns that put the rows in order, with commas.")] = "",
    drop: Annotated[str, typer.Option(help="Columns to leave out, with commas.")] = "",
    allow_leak: Annotated[str, typer.Option(help="Columns that may give the target away, with commas.")] = "",
    gate: Annotated[list[str] | None, typer.Option(help="What a model must reach, e.g. 'r2>=0.8'. Repeatable.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Held-out rows to send to the endpoint.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of the data, the split and the training.")] = 0,
    rollouts: Annotated[bool, typer.Option(help="Roll out a healthy model and broken ones as well.")] = True,
    time_scale: Annotated[
        float, typer.Option(min=1, max=600, help="Waits and alarm periods of rollouts pass so many times faster.")
    ] = 120,
    prove_alarms: Annotated[
        bool, typer.Option("--prove-alarms", help="Show of every alarm that it fires and recovers.")
    ] = False,
    drift: Annotated[
        bool, typer.Option("--drift", help="Another play: traffic shifts, an alarm fires, a new model is rolled out.")
    ] = False,
    down: Annotated[bool, typer.Option("--down", help="Stop the cloud at the end.")] = False,
    as_json: Json = False,
) -> None:
    """Train, package, preview, deploy and test two models on this machine: the whole deployment, without AWS."""
    if drift:
        if data or target or order_by or drop or gate:
            raise SagestageError("--drift plays on the generated data: leave out --data, --target, --order-by, --gate")
        from sagestage import drifting

        drifting.rehearse(Project.find(), seed=seed, time_scale=time_scale, down=down, as_json=as_json)
        return
    from sagestage.rehearse import Options
    from sagestage.rehearse import rehearse as run

    options = Options(
        data=data,
        target=target,
        order_by=_names(order_by),
        drop=_names(drop),
        allow_leak=_names(allow_leak),
        gates=tuple(gate or ()),
        requests=requests,
        seed=seed,
        down=down,
        with_rollouts=rollouts,
        time_scale=time_scale,
        prove_alarms=prove_alarms,
    )
    run(Project.find(), options, as_json=as_json)


@app.command(epilog="Example: sagestage train --data bikes.csv --target cnt --order-by dteday,hr --gate 'r2>=0.85'")
def train(
    *,
    data: Annotated[Path, typer.Option(help="CSV or Parquet.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    order_by: Annotated[str, typer.Option(help="Columns that put the rows in order, with commas.")] = "",
    group_by: Annotated[str, typer.Option(help="Columns that name the entity of a row: lags never leave it.")] = "",
    drop: Annotated[str, typer.Option(help="Columns to leave out, with commas.")] = "",
    allow_leak: Annotated[str, typer.Option(help="Columns that may give the target away, with commas.")] = "",
    gate: Annotated[list[str] | None, typer.Option(help="What the model must reach, e.g. 'r2>=0.8'.")] = None,
    name: Annotated[str, typer.Option(help="The model's name: part of its key.")] = "model",
    hidden: Annotated[str, typer.Option(help="Sizes of the hidden layers, with commas.")] = "64,32",
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Step size.")] = 3e-3,
    epochs: Annotated[int, typer.Option(min=1, help="At most so many passes over the data.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on GPUs, one a worker.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and the training.")] = 0,
    checkpoint: Annotated[str | None, typer.Option(help="Folder or s3:// prefix to go on from.")] = None,
    tune: Annotated[int, typer.Option(min=0, help="Trials of a search for better settings.")] = 0,
    champion: Annotated[str | None, typer.Option(help="model.tar.gz that is deployed, here or s3://.")] = None,
    on: Annotated[str, typer.Option("--on", help="here, or sagemaker: as a training job.")] = "here",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the job's request and send nothing.")] = False,
    place: Annotated[
        list[str] | None,
        typer.Option("--job", help="Of the job: image=…, role=…, bucket=…, instance_type=…, spot=true. Repeatable."),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(help="Whose outputs training_image, _role and _bucket say where the job runs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train one model and package it as model.tar.gz. Exit code 3 when it misses its gate."""
    settings = {
        "data": data,
        "target": target,
        "order": _names(order_by),
        "group_by": _names(group_by),
        "drop": _names(drop),
        "allow_leak": _names(allow_leak),
        "name": name,
        "hidden": tuple(int(size) for size in _names(hidden)),
        "learning_rate": learning_rate,
        "epochs": epochs,
        "workers": workers,
        "use_gpu": gpu,
        "seed": seed,
        "checkpoint": checkpoint,
        "champion": champion,
        "tune": tune,
    }
    if on == "here":
        commands.train(Project.find(), settings, gates=tuple(gate or ()), as_json=as_json)
    else:
        from sagestage import jobs

        jobs.train(settings | {"gates": tuple(gate or ())}, on, place or [], stack, dry_run=dry_run)


@app.command(epilog="Example: sagestage serve model.tar.gz --port 8080")
def serve(
    model: Annotated[Path, typer.Argument(help="A model.tar.gz, or the folder that it was unpacked to.")],
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen on loopback.")] = 8080,
    predictor: Annotated[str, typer.Option(help="auto, numpy, onnx, torch or compile.")] = "auto",
) -> None:
    """Serve one model, as its container would: GET /ping, POST /invocations."""
    environment = os.environ | {
        "SAGESTAGE_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGESTAGE_PREDICTOR": predictor,
    }
    arguments = [sys.executable, "-m", "inference", "serve", "--model", str(model)]
    os.execve(sys.executable, arguments, environment)  # noqa: S606  # the server takes this process's place: signals reach it


@app.command(epilog="Example: sagestage quantize model.tar.gz --data test.parquet --out small.tar.gz")
def quantize(
    model: Annotated[Path, typer.Argument(help="A model.tar.gz.")],
    *,
    data: Annotated[Path, typer.Option(help="Held-out rows with the target, in order: CSV or Parquet.")],
    out: Annotated[Path, typer.Option(help="Where the quantised model.tar.gz goes.")],
    tolerance: Annotated[float, typer.Option(min=0.0, help="How far R² or the accuracy may fall.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Store a model's weights as int8, unless its metric falls too far; size, metric and speed, before and after."""
    from sagestage.quantize import quantize as run

    run(model, data, out, tolerance=tolerance, as_json=as_json)


@bench_app.command("predictor", epilog="Example: sagestage bench predictor model.tar.gz")
def bench_predictor(
    model: Annotated[Path, typer.Argument(help="A model.tar.gz, or the folder that it was unpacked to.")],
    *,
    rounds: Annotated[int, typer.Option(min=3, help="Forward passes of each size.")] = 200,
    as_json: Json = False,
) -> None:
    """Say which predictor computes a model fastest on this machine; each must give the golden answers first."""
    from sagestage import predictors

    predictors.bench(model, rounds=rounds, as_json=as_json)


@cloud_app.command("start", epilog="Example: sagestage cloud start --port 4577")
def cloud_start(
    *,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Insist on this port.")] = None,
    max_instances: Annotated[int, typer.Option(min=1, help="At most so many processes a variant.")] = 2,
    time_scale: Annotated[
        float | None, typer.Option(min=1, max=600, help="Waits and alarm periods pass so many times faster.")
    ] = None,
    hosting: Annotated[
        str | None, typer.Option("--hosting", help="Run sagestage's images as a process or as a container.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what a cloud that was killed here had.")] = False,
    as_json: Json = False,
) -> None:
    """Start the embedded AWS, or find it running. What one that was killed here had comes back."""
    commands.cloud_start(
        Project.find(),
        port=port,
        max_instances=max_instances,
        time_scale=time_scale,
        hosting=hosting,
        fresh=fresh,
        as_json=as_json,
    )


@cloud_app.command("stop", epilog="Example: sagestage cloud stop --keep")
def cloud_stop(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="The next start brings back what it had.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the embedded AWS and every process that it started. What it held is gone, but with --keep."""
    commands.cloud_stop(Project.find(), keep=keep, as_json=as_json)


@cloud_app.command("status", epilog="Example: sagestage cloud status --json")
def cloud_status(*, as_json: Json = False) -> None:
    """Say whether the embedded AWS runs, and where. Exit code 1 when it does not."""
    commands.cloud_status(Project.find(), as_json=as_json)


@cloud_app.command("env", epilog='Example: eval "$(sagestage cloud env)" && aws sagemaker list-endpoints')
def cloud_env(*, as_json: Json = False) -> None:
    """Print what makes the AWS CLI and every SDK talk to the embedded AWS."""
    commands.cloud_env(Project.find(), as_json=as_json)


@app.command(epilog="Example: sagestage monitor sagestage-local-demand --window 1h --json")
def monitor(
    endpoint: Annotated[str | None, typer.Argument(help="The endpoint; the only one there is, by default.")] = None,
    *,
    window: Annotated[str, typer.Option(help="How far back: 1h, 90m, 30s or 1d.")] = "1h",
    ground_truth: Annotated[str | None, typer.Option(help="Labels: a folder or s3:// prefix of JSON Lines.")] = None,
    segment: Annotated[str | None, typer.Option(help="Tell quality apart by this column's values.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Put the metrics into CloudWatch.")] = False,
    on: Annotated[str, typer.Option("--on", help="embedded, or aws.")] = "embedded",
    expect_no_drift: Annotated[
        bool, typer.Option("--expect-no-drift", help="Exit code 2 when columns drifted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hold an endpoint's captured traffic against the rows that its models learnt from, for one window, now."""
    from sagestage.monitoring import Request
    from sagestage.monitoring import run as look

    request = Request(endpoint, window, ground_truth, segment, publish, on, expect_no_drift)
    raise typer.Exit(look(Project.find(), request, as_json=as_json))


@app.command(epilog="Example: sagestage invoke sagestage-local-demand --data row.json")
def invoke(
    endpoint: Annotated[str | None, typer.Argument(help="The endpoint; the only one there is, by default.")] = None,
    *,
    data: Annotated[str, typer.Option(help="The request's body: a file, or - for standard input.")] = "-",
    variant: Annotated[str | None, typer.Option(help="Ask this variant, whatever the weights.")] = None,
    user: Annotated[str | None, typer.Option(help="Ask this user's variant, by a stable hash and the weights.")] = None,
    salt: Annotated[str | None, typer.Option(help="The experiment's salt for --user; the endpoint's name.")] = None,
    content_type: Annotated[str, typer.Option(help="What the body is.")] = "application/json",
    accept: Annotated[str, typer.Option(help="What the answer shall be.")] = "application/json",
    region: Region = None,
) -> None:
    """Send one request to an endpoint and print the answer."""
    commands.invoke(
        Project.find(),
        endpoint,
        data=data,
        target=commands.Target(variant, user, salt),
        content_type=content_type,
        accept=accept,
        region=region,
    )


@app.command(epilog="Example: sagestage logs sagestage-local-demand -f")
def logs(
    endpoint: Annotated[str | None, typer.Argument(help="The endpoint; the only one there is, by default.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    variant: Annotated[str | None, typer.Option(help="Only this variant's instances.")] = None,
    region: Region = None,
) -> None:
    """Print what the instances of an endpoint print."""
    from sagestage.logs import show

    show(Project.find(), endpoint, follow=follow, variant=variant, region=region)


@app.command(epilog="Example: sagestage status --json")
def status(*, region: Region = None, as_json: Json = False) -> None:
    """Show the embedded AWS and its endpoints."""
    commands.status(Project.find(), as_json=as_json, region=region)


@app.command(
    "pulumi",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: sagestage pulumi -- up --stack local",
)
def pulumi_command(
    context: typer.Context,
    *,
    on: Annotated[str | None, typer.Option("--on", help="embedded: rehearse a stack for AWS here.")] = None,
) -> None:
    """Run the real Pulumi CLI on this project against the embedded AWS."""
    from sagestage.pulumi_cli import run

    if on not in (None, "embedded"):
        raise SagestageError(f"--on {on}: this CLI deploys to the embedded AWS only; plain `pulumi` deploys to AWS")
    raise typer.Exit(run(Project.find().root, context.args, embedded=on is not None))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main() -> NoReturn:
    """Run a command; a user's mistake is one line and an exit code, never a traceback (unless `--debug`)."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more: end quietly
        sys.exit(0)
    except Exception as error:
        if output.settings.debug:
            raise
        ours = type(error).__module__.partition(".")[0] in OUR_PACKAGES
        if ours:
            _fail(str(error), error.exit_code if isinstance(error, SagestageError) else 1)
        if isinstance(error, OSError):
            _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
        _fail(f"unexpected {type(error).__name__}: {error} (`sagestage --debug …` shows where)", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)
