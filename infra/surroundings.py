"""What the components need to know of the stack around them."""

from typing import Any

import pulumi
import pulumi_aws as aws

from infra import names
from infra.errors import SpecError
from infra.policies import Home


def tags(endpoint: str | None = None) -> dict[str, str]:
    """The tags of everything that this stack makes."""
    return names.tags(pulumi.get_project(), pulumi.get_stack(), endpoint)


def hosting() -> dict[str, str]:
    """The tag of a model that the embedded AWS runs as a container: the stack's configuration has `hosting: container`.

    Raises:
        SpecError: it is neither process nor container.
    """
    said = pulumi.Config().get("hosting") or "process"
    if said not in {"process", "container"}:
        raise SpecError([f"configuration {pulumi.get_project()}:hosting must be process or container, got {said!r}"])
    return {names.HOSTING_TAG: said} if said == "container" else {}


def is_local() -> bool:
    """Whether this is the stack of a rehearsal, of which nothing must remain."""
    return pulumi.get_stack() == names.LOCAL


def home(parent: pulumi.Resource) -> pulumi.Output[Home]:
    """Partition, region and account that the parent's provider works in."""
    options = pulumi.InvokeOptions(parent=parent)
    partition: pulumi.Output[Any] = aws.get_partition_output(opts=options)
    region: pulumi.Output[Any] = aws.get_region_output(opts=options)
    identity: pulumi.Output[Any] = aws.get_caller_identity_output(opts=options)
    return pulumi.Output.all(partition, region, identity).apply(
        lambda found: Home(found[0].partition, found[1].region, found[2].account_id)
    )


def child(parent: pulumi.Resource, **options: Any) -> pulumi.ResourceOptions:
    """Options of a component's child: its parent is never forgotten."""
    return pulumi.ResourceOptions(parent=parent, **options)
