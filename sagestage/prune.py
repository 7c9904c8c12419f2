"""`sagestage prune`: configurations and models of a stack that no endpoint runs any more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sagestage import aws, output, stackfile
from sagestage.errors import SagestageError
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.prune import Orphans

OUTLIVE_DECLARATION = frozenset(
    {"aws:sagemaker/model:Model", "aws:sagemaker/endpointConfiguration:EndpointConfiguration"}
)
"""Pulumi never deletes these (retain_on_delete): an endpoint may have gone back to them."""


def run(project: Project, stack: str, *, state: str | None, yes: bool, as_json: bool) -> None:
    """Delete, with `yes`, or list what no endpoint runs and the stack's state does not name.

    Args:
        project: the project.
        stack: a stack on this machine, or one on AWS.
        state: for a stack on AWS, what `pulumi stack export` printed: a file, or - for standard input.
        yes: delete.
        as_json: print one JSON object.

    Raises:
        SagestageError: a stack on AWS without its state: what the next `pulumi up` needs could be deleted.
    """
    from infra.prune import find, remove

    client, content = _place(project, stack, state)
    gone = find(client, stackfile.project_name(project.root), stack, keep=declared(content))
    if yes:
        remove(client, gone)
    _tell(gone, done=yes, as_json=as_json)


def declared(checkpoint: bytes) -> set[str]:
    """The physical names of configurations and models that a checkpoint names.

    Raises:
        SagestageError: it is no checkpoint.
    """
    try:
        content = orjson.loads(checkpoint)
        resources = (content.get("deployment") or {}).get("resources") or []
        return {one["id"] for one in resources if one["type"] in OUTLIVE_DECLARATION and one.get("id")}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise SagestageError("the state is not what `pulumi stack export` prints: JSON with a deployment") from None


def _place(project: Project, stack: str, state: str | None) -> tuple[Any, bytes]:
    config = stackfile.read(project.root, stack)
    if stackfile.is_embedded(config):
        file = project.home / "stacks" / stackfile.project_name(project.root) / f"{stack}.json"
        client = aws.client(aws.running_cloud(project, config.get("aws:region")), "sagemaker")
        return client, file.read_bytes() if state is None and file.exists() else _read(state)
    if state is None:
        how = f"`pulumi stack export --stack {stack} | sagestage prune --stack {stack} --state -`"
        raise SagestageError(f"stack {stack!r} is on AWS: its state says what has to stay; use {how}")
    return _aws(config), _read(state)


def _aws(config: dict[str, Any]) -> Any:
    """A client of AWS itself, with the credentials that the AWS CLI would use.

    Raises:
        SagestageError: they are another account's than the stack's.
    """
    import boto3

    session = boto3.session.Session(region_name=config.get("aws:region"), profile_name=config.get("aws:profile"))
    account = session.client("sts").get_caller_identity()["Account"]
    allowed = [str(one) for one in config.get("aws:allowedAccountIds") or [account]]
    if account not in allowed:
        raise SagestageError(f"the credentials are of account {account}; the stack is for {', '.join(allowed)}")
    return session.client("sagemaker")


def _read(state: str | None) -> bytes:
    if state is None:
        return b"{}"
    try:
        return sys.stdin.buffer.read() if state == "-" else Path(state).read_bytes()
    except OSError as error:
        raise SagestageError(f"--state {state}: {error.strerror}") from None


def _tell(gone: Orphans, *, done: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"deleted": done, "configs": list(gone.configs), "models": list(gone.models)})
        return
    console = output.console()
    for kind, names in (("configuration", gone.configs), ("model", gone.models)):
        for name in names:
            console.print(f"{'deleted' if done else 'not run'}: {kind} {name}", highlight=False)
    if not gone.configs and not gone.models:
        console.print("Nothing to prune: an endpoint, or the stack's state, names every configuration and model.")
    elif not done:
        console.print("Next: the same command with --yes deletes them.", highlight=False)
