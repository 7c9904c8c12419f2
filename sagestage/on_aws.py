"""`--on aws`: the real Pulumi CLI through its Automation API, in the user's account and backend, with verification."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from pulumi import automation as auto
from pulumi.automation import EngineEvent, StepEventMetadata

from infra.engine.result import Change
from sagestage import (
    cli_install,
    output,
    preflight,
    renaming,
    replacement,
    rescaling,
    scaling_in,
    stackfile,
    verification,
)
from sagestage.errors import ChangesError, SagestageError
from sagestage.project import Project

if TYPE_CHECKING:
    from sagestage import importing
    from sagestage.operations import Request


@dataclass(frozen=True)
class Planned:
    """A step of a plan, as far as it matters for what is refused."""

    op: str
    urn: str
    type: str
    inputs: Mapping[str, Any]
    replace_keys: tuple[str, ...] = ()
    diff: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """Pulumi's name of the resource."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True)
class Plan:
    """What an `up` would do: its steps, the instances that run now, and how many resources each operation concerns."""

    steps: tuple[Planned, ...]
    live: scaling_in.Live
    summary: Mapping[Any, int]
    rescaled: tuple[rescaling.Rescaled, ...] = ()

    @property
    def shrinks(self) -> list[scaling_in.Shrink]:
        """Variants that it would scale in."""
        return scaling_in.shrinks(scaling_in.endpoints(self.steps), self.live)


def run(project: Project, request: Request) -> None:
    """Carry an operation out in AWS.

    Raises:
        SagestageError: there is no CLI, it fails (its words are above), or the stack does not exist in the backend.
        ReplacementError: it would take an endpoint away for minutes, and that was not allowed.
        RenamingError: SageMaker would refuse an update.
        PreflightError: `up` would make a model of something that is not there.
        ScaleInError: `up` would take instances away, and that was not accepted.
        VerificationError: after an `up`, an endpoint does not run what was deployed.
    """
    config = stackfile.read(project.root, request.stack)
    stack = _stack(project, request.stack, install=request.install)
    say = sys.stderr if request.as_json else sys.stdout
    targets: dict[str, Any] = {"target": list(request.targets) or None, "parallel": request.parallel}
    loud: dict[str, Any] = {**targets, "on_output": lambda line: print(line, file=say)}
    try:
        if request.operation == "preview":
            plan = _plan(stack, config, loud)
            _check(plan, request, config, say)
            summary = plan.summary
        else:
            if request.operation == "up":
                plan = _plan(stack, config, targets)
                _check(plan, request, config, say)
                rescaling.refuse_targets(plan.rescaled, request.targets)
                if going := rescaling.urns_of(plan.rescaled):
                    stack.destroy(**{**loud, "target": list(going)})
            done = getattr(stack, request.operation)(**loud)
            summary = done.summary.resource_changes or {}
    except auto.CommandError as error:
        raise SagestageError(
            f"pulumi {request.operation} of stack {request.stack} failed: {_last_error(str(error))}; what was done "
            "before is in the state"
        ) from None
    _tell(request, summary)
    if request.operation == "up":
        found = verification.verdicts(_resources(stack), verification.describer(sagemaker(config)))
        if not request.as_json:
            verification.show(found)
        verification.refuse(found)


def import_(project: Project, request: importing.Request) -> None:
    """Make resources of the account the stack's own; the CLI prints the lines that declare them.

    Raises:
        SagestageError: there is no CLI, or it fails.
    """
    stackfile.read(project.root, request.stack)
    if request.preview:
        raise SagestageError("--preview-only: with --on aws, use `pulumi import --preview-only`")
    stack = _stack(project, request.stack, install=request.install)
    say = sys.stderr if request.as_json else sys.stdout
    urns = sorted({each[key] for each in request.resources for key in ("parent", "provider") if each.get(key)})
    names = {f"resource{number}": urn for number, urn in enumerate(urns)}
    by_urn = {urn: name for name, urn in names.items()}
    listed = [{key: by_urn.get(value, value) for key, value in each.items()} for each in request.resources]
    try:
        done = stack.import_resources(
            resources=listed,  # type: ignore[arg-type]  # its keys are those of ImportResource
            name_table=names,
            protect=request.protect,
            on_output=lambda line: print(line, file=say),
        )
    except auto.CommandError as error:
        raise SagestageError(f"pulumi import into stack {request.stack} failed: {_last_error(str(error))}") from None
    if request.as_json:
        output.print_json({"stack": request.stack, "operation": "import", "program": [done.generated_code]})
    else:
        sys.stdout.write(f"{done.generated_code}\n")


def resources(project: Project, stack: str) -> list[dict[str, Any]]:
    """The resources in the backend's checkpoint of a stack."""
    return _resources(_stack(project, stack, install=False))


def _resources(stack: auto.Stack) -> list[dict[str, Any]]:
    deployment = stack.export_stack().deployment or {}
    return list(deployment.get("resources") or [])


def clients(config: Mapping[str, Any]) -> preflight.Clients:
    """boto3 clients of the account that the stack deploys to, with the user's own credentials.

    Raises:
        SagestageError: there are none.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    def client(service: str, region: str | None = None) -> Any:
        try:
            session = boto3.Session(
                profile_name=config.get("aws:profile"), region_name=region or config.get("aws:region")
            )
            return session.client(service)  # type: ignore[call-overload]  # the service is a variable
        except BotoCoreError as error:
            raise SagestageError(f"AWS: {error}; set AWS_PROFILE or aws:profile, and aws:region") from error

    return client


def sagemaker(config: Mapping[str, Any]) -> Any:
    """A SageMaker client of the account that the stack deploys to.

    Raises:
        SagestageError: there are no credentials.
    """
    return clients(config)("sagemaker", None)


def _tell(request: Request, changes: Mapping[Any, int]) -> None:
    told = {str(getattr(op, "value", op)): count for op, count in changes.items()}
    changed = any(count for op, count in told.items() if op != "same")
    if request.as_json:
        output.print_json({"stack": request.stack, "operation": request.operation, "summary": told, "changed": changed})
    if request.expect_no_changes and changed:
        raise ChangesError(f"stack {request.stack}: {told}, and no changes were expected")


def _check(plan: Plan, request: Request, config: Mapping[str, Any], say: TextIO) -> None:
    """Refuse what would be an outage or could not work; a preview tells what an `up` would refuse."""
    if not request.replace_endpoints:
        replacement.refuse(plan.steps)
    renaming.refuse(plan.steps, plan.live)
    wanted = preflight.needs(plan.steps)
    found = preflight.look(wanted, clients(config)) if wanted else preflight.Found()
    preview = request.operation == "preview"
    refused = (*found.missing, *map(str, plan.shrinks)) if preview else ()
    for line in [*found.unseen, *refused, *map(str, plan.rescaled)]:
        print(f"! {line}", file=say)
    if not preview:
        preflight.refuse(found)
        if not request.accept_scale_in:
            scaling_in.refuse(plan.shrinks)


def _plan(stack: auto.Stack, config: Mapping[str, Any], options: Mapping[str, Any]) -> Plan:
    steps: list[Planned] = []

    def listen(event: EngineEvent) -> None:
        told = event.resource_pre_event
        if told is not None:
            steps.append(_planned(told.metadata))

    plan = stack.preview(on_event=listen, **options)
    planned = scaling_in.endpoints(steps)
    describe = verification.describer(sagemaker(config)) if planned else None
    live: dict[str, dict[str, int]] = {}
    for name in planned:
        found = describe(name) if describe else None
        live[name] = {
            variant["VariantName"]: int(variant.get("CurrentInstanceCount", 0))
            for variant in (found or {}).get("ProductionVariants", [])
        }
    changed = rescaling.rescaled(steps, _resources(stack)) if planned else []
    return Plan(tuple(steps), live, plan.change_summary, tuple(changed))


def _planned(metadata: StepEventMetadata) -> Planned:
    inputs = (metadata.new.inputs if metadata.new else None) or {}
    told = metadata.detailed_diff or {}
    diff = tuple(Change(path, str(getattr(one.diff_kind, "value", one.diff_kind))) for path, one in told.items())
    op = str(getattr(metadata.op, "value", metadata.op))
    return Planned(op, metadata.urn, metadata.type, inputs, tuple(metadata.keys or ()), diff)


def _stack(project: Project, name: str, *, install: bool) -> auto.Stack:
    workspace = auto.LocalWorkspace(
        work_dir=str(project.root), pulumi_command=cli_install.command(name, install=install)
    )
    try:
        return auto.Stack.select(name, workspace)
    except auto.StackNotFoundError:
        raise SagestageError(
            f"stack {name!r} is not in the backend that pulumi is logged in to: `pulumi stack init {name}` makes it"
        ) from None
    except auto.CommandError as error:
        raise SagestageError(f"pulumi stack select {name}: {_last_error(str(error))}") from None


def _last_error(text: str) -> str:
    """The line of the CLI's output that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line]
    return (told[-1].partition("error:")[2].strip() if told else lines[-1]) if lines else "it gave no reason"
