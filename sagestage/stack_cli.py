"""`sagestage preview|up|refresh|destroy|import|verify|alarms|prune|state`: what is done with a stack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sagestage.options import Install, Json, On, Parallel, Replace, Stack, TargetUrns
from sagestage.project import Project

app = typer.Typer()
state_app = typer.Typer(no_args_is_help=True, help="The state of a stack on the embedded engine.")
app.add_typer(state_app, name="state")


@app.command(epilog="Example: sagestage preview --stack prod --on embedded --expect-no-changes")
def preview(
    *,
    stack: Stack = "local",
    on: On = None,
    target: TargetUrns = None,
    expect_no_changes: Annotated[
        bool, typer.Option("--expect-no-changes", help="Exit code 2 when there are some.")
    ] = False,
    allow_endpoint_replacement: Replace = False,
    install: Install = False,
    parallel: Parallel = None,
    as_json: Json = False,
) -> None:
    """Show what `up` would change, property by property. Exit code 4 when it would replace an endpoint."""
    _operate(
        "preview", stack, on, target,
        expect_no_changes=expect_no_changes, replace_endpoints=allow_endpoint_replacement,
        install=install, parallel=parallel, as_json=as_json,
    )  # fmt: skip


@app.command(epilog="Example: sagestage up --stack local")
def up(  # one parameter an option
    *,
    stack: Stack = "local",
    on: On = None,
    target: TargetUrns = None,
    allow_endpoint_replacement: Replace = False,
    accept_scale_in: Annotated[
        bool, typer.Option("--accept-scale-in", help="Take away instances that autoscaling has added.")
    ] = False,
    install: Install = False,
    parallel: Parallel = None,
    as_json: Json = False,
) -> None:
    """Deploy the stack's program.

    Nothing is done, with exit code 4 when it would replace an endpoint or rename variants in steps, 5 when it would
    scale in, 7 when an image, an archive or a role is missing.
    """
    _operate(
        "up", stack, on, target,
        replace_endpoints=allow_endpoint_replacement, accept_scale_in=accept_scale_in,
        install=install, parallel=parallel, as_json=as_json,
    )  # fmt: skip


@app.command(epilog="Example: sagestage refresh --stack local")
def refresh(
    *,
    stack: Stack = "local",
    on: On = None,
    target: TargetUrns = None,
    install: Install = False,
    parallel: Parallel = None,
    as_json: Json = False,
) -> None:
    """Bring the state up to date with what is really there, and show what has drifted."""
    _operate("refresh", stack, on, target, install=install, parallel=parallel, as_json=as_json)


@app.command(epilog="Example: sagestage destroy --stack local")
def destroy(
    *,
    stack: Stack = "local",
    on: On = None,
    target: TargetUrns = None,
    install: Install = False,
    parallel: Parallel = None,
    as_json: Json = False,
) -> None:
    """Delete everything that the stack made."""
    _operate("destroy", stack, on, target, install=install, parallel=parallel, as_json=as_json)


@app.command("import", epilog="Example: sagestage import aws:s3/bucket:Bucket data my-bucket")
def import_(
    type_: Annotated[str | None, typer.Argument(metavar="TYPE", help="Its type token: package:module:Type.")] = None,
    name: Annotated[str | None, typer.Argument(help="The name that it has in the program.")] = None,
    identity: Annotated[str | None, typer.Argument(metavar="ID", help="The id that AWS knows it by.")] = None,
    *,
    stack: Stack = "local",
    on: On = None,
    parent: Annotated[str, typer.Option(help="The URN of its parent; the stack, by default.")] = "",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Many: a file of `pulumi import`.")] = None,
    protect: Annotated[bool, typer.Option(help="Protect them until the program says otherwise.")] = True,
    preview_only: Annotated[bool, typer.Option("--preview-only", help="Change nothing.")] = False,
    install: Install = False,
    as_json: Json = False,
) -> None:
    """Make resources that exist a stack's own, and print the lines of Python that declare them."""
    from sagestage import importing

    resources = importing.wanted((type_, name, identity), parent, file)
    request = importing.Request(stack, resources, on, protect, preview_only, install, as_json)
    importing.run(Project.find(), request)


@app.command(epilog="Example: sagestage verify --stack prod")
def verify(*, stack: Stack = "local", on: On = None, as_json: Json = False) -> None:
    """Check that each endpoint of a stack runs the configuration that its state names, and was not rolled back."""
    from sagestage.verification import run as check

    check(Project.find(), stack, on=on, as_json=as_json)


@state_app.command("export", epilog="Example: sagestage state export --stack local > checkpoint.json")
def state_export(*, stack: Stack = "local") -> None:
    """Print the embedded engine's state as `pulumi stack import` takes it."""
    from sagestage.operations import export_state

    sys.stdout.write(export_state(Project.find(), stack))


@state_app.command("unprotect", epilog="Example: sagestage state unprotect 'urn:pulumi:dev::…' --stack dev")
def state_unprotect(
    urn: Annotated[str, typer.Argument(help="The resource, as `state export` names it.")], *, stack: Stack = "local"
) -> None:
    """Let a protected resource be deleted: in the state alone, until a program that protects it is deployed again."""
    from sagestage.operations import unprotect

    unprotect(Project.find(), stack, urn)


@app.command(epilog="Example: sagestage alarms --stack prod --prometheus > rules.yaml")
def alarms(
    *,
    stack: Stack = "local",
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print a rules file for Prometheus.")] = False,
    as_json: Json = False,
) -> None:
    """List the alarms that a stack declares. Runs its program: no cloud, no credentials, nothing made."""
    from sagestage.alarms import show

    show(Project.find(), stack, prometheus=prometheus, as_json=as_json)


@app.command(epilog="Example: pulumi stack export --stack prod | sagestage prune --stack prod --state - --yes")
def prune(
    *,
    stack: Stack = "local",
    state: Annotated[str | None, typer.Option(help="For a stack on AWS: what `pulumi stack export` printed.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are listed.")] = False,
    as_json: Json = False,
) -> None:
    """Delete configurations and models of a stack that no endpoint runs and the stack's state does not name."""
    from sagestage.prune import run

    run(Project.find(), stack, state=state, yes=yes, as_json=as_json)


def _operate(operation: str, stack: str, on: str | None, target: list[str] | None, **more: Any) -> None:
    from sagestage.operations import Request, run

    run(Project.find(), Request(operation, stack, on, tuple(target or ()), **more))
