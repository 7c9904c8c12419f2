"""`sagestage preview|up|refresh|destroy`: one operation on one stack, on the engine that fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from sagestage import output, report, stackfile
from sagestage.errors import ChangesError
from sagestage.progress import Stages
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.engine import Result


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    `on`: embedded, aws, or None for what fits the stack. `targets`: URNs, all resources when there are none.
    """

    operation: str
    stack: str
    on: str | None = None
    targets: tuple[str, ...] = ()
    expect_no_changes: bool = False
    replace_endpoints: bool = False
    accept_scale_in: bool = False
    install: bool = False
    parallel: int | None = None
    as_json: bool = False


def run(project: Project, request: Request) -> None:
    """Carry the operation out and show what it did.

    Raises:
        ChangesError: there are changes, and none were expected.
    """
    from sagestage import engines

    config = stackfile.read(project.root, request.stack)
    if engines.choose(request.on, request.stack, config) == engines.AWS:
        from sagestage import on_aws

        on_aws.run(project, request)
        return
    from sagestage.deploy import Deployment

    console = output.console(as_json=request.as_json)
    with Stages(console) as stages, stages.stage(request.operation) as stage:
        deployment = Deployment(
            project,
            request.stack,
            report.follow(stage),
            replace_endpoints=request.replace_endpoints,
            accept_scale_in=request.accept_scale_in,
            targets=request.targets,
            offline=request.operation == "preview",
            on=request.on,
            parallel=request.parallel,
        )
        result: Result = getattr(deployment, request.operation)()
        stage.summary = report.change_sentence(result)
    for remark in (*deployment.shrinks, *deployment.rescaled):
        stages.warn(str(remark))
    if request.as_json:
        output.print_json(result.to_json())
    else:
        _show(console, result)
    if request.expect_no_changes and result.changed:
        raise ChangesError(f"stack {request.stack}: {report.change_sentence(result)}, and no changes were expected")


def _show(console: Any, result: Result) -> None:
    from sagestage import differences

    if result.changed:
        console.print(report.plan_table(result))
        for line in differences.lines(result):
            console.print(line, highlight=False, soft_wrap=True)
    for name, value in result.outputs.items():
        console.print(f"{escape(name)}: [bold]{escape(str(value))}[/]", highlight=False, soft_wrap=True)
    if hint := _next_step(result):
        console.print(f"Next: {hint}", highlight=False)


def _next_step(result: Result) -> str:
    stack = "" if result.stack == stackfile.LOCAL else f" --stack {result.stack}"
    match result.operation, result.changed:
        case "preview", True:
            return f"sagestage up{stack}"
        case "up", _:
            return "sagestage status"
        case "destroy", _:
            return "sagestage up, or sagestage cloud stop"
        case _:
            return ""


def export_state(project: Project, stack: str) -> str:
    """The stack's state as `pulumi stack import` takes it: deployment version 3, secrets encrypted.

    Raises:
        SagestageError: the stack has no file.
        EngineError: the state cannot be read.
    """
    from infra.engine import Engine

    stackfile.read(project.root, stack)
    return Engine(root=project.root, stack=stack, providers={}, home=project.home).export()


def unprotect(project: Project, stack: str, urn: str) -> None:
    """Let a protected resource be deleted.

    Raises:
        EngineError: the state has no such resource.
    """
    from infra.engine import Engine

    stackfile.read(project.root, stack)
    Engine(root=project.root, stack=stack, providers={}, home=project.home).unprotect(urn)
    output.console().print(f"{escape(urn)} is no longer protected in the state.", highlight=False, soft_wrap=True)
