"""Configurations and models that no endpoint runs: which they are, and their deletion.

SageMaker deletes a configuration or a model that an endpoint runs without a word, and after a rollback an endpoint runs
the previous ones; so Pulumi never deletes either (`retain_on_delete`), and this does when nothing runs them.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.names import PROJECT_TAG, STACK_TAG


@dataclass(frozen=True)
class RunningEndpoint:
    """An endpoint and the configurations that it runs: one, or two while an update is under way."""

    name: str
    configs: frozenset[str]


@dataclass(frozen=True)
class StoredConfig:
    """An endpoint configuration and the models of its variants; `own`: it carries the stack's tags."""

    name: str
    models: frozenset[str]
    own: bool = True


@dataclass(frozen=True)
class Orphans:
    """Names to delete: configurations first, since models are what they consist of."""

    configs: tuple[str, ...]
    models: tuple[str, ...]


def orphans(
    endpoints: Iterable[RunningEndpoint],
    configs: Collection[StoredConfig],
    models: Iterable[str],
    keep: Collection[str] = (),
) -> Orphans:
    """Decide what may go.

    Args:
        endpoints: every endpoint of the account and region.
        configs: every configuration, the stack's own and others.
        models: the names of the stack's own models.
        keep: names that the stack's state declares: they stay, even when a rollback left them unused.
    """
    running = {name for endpoint in endpoints for name in endpoint.configs}
    goes = {config.name for config in configs if config.own and config.name not in running and config.name not in keep}
    used = {model for config in configs if config.name not in goes for model in config.models}
    return Orphans(tuple(sorted(goes)), tuple(sorted(name for name in models if name not in used and name not in keep)))


def prune(client: Any, project: str, stack: str, keep: Collection[str] = ()) -> Orphans:
    """Delete the stack's configurations and models that no endpoint runs; the answer is what was deleted."""
    gone = find(client, project, stack, keep)
    remove(client, gone)
    return gone


def remove(client: Any, gone: Orphans) -> None:
    """Delete them."""
    for name in gone.configs:
        client.delete_endpoint_config(EndpointConfigName=name)
    for name in gone.models:
        client.delete_model(ModelName=name)


def find(client: Any, project: str, stack: str, keep: Collection[str] = ()) -> Orphans:
    """The stack's configurations and models that no endpoint runs.

    Args:
        client: a boto3 SageMaker client.
        project: Pulumi's name of the project, as in the tags.
        stack: Pulumi's name of the stack, as in the tags.
        keep: physical names that the stack's state still declares.
    """
    endpoints = [_endpoint(client, name) for name in _list(client, "list_endpoints", "Endpoints", "EndpointName")]
    configs = [
        _config(client, one["EndpointConfigName"], own=_owns(client, one["EndpointConfigArn"], project, stack))
        for one in _pages(client, "list_endpoint_configs", "EndpointConfigs")
    ]
    models = [
        one["ModelName"]
        for one in _pages(client, "list_models", "Models")
        if _owns(client, one["ModelArn"], project, stack)
    ]
    return orphans(endpoints, configs, models, keep)


def _endpoint(client: Any, name: str) -> RunningEndpoint:
    found = client.describe_endpoint(EndpointName=name)
    pending = found.get("PendingDeploymentSummary", {})
    names = {found.get("EndpointConfigName"), pending.get("EndpointConfigName")}
    return RunningEndpoint(name, frozenset(one for one in names if one))


def _config(client: Any, name: str, *, own: bool) -> StoredConfig:
    found = client.describe_endpoint_config(EndpointConfigName=name)
    variants = [*found["ProductionVariants"], *found.get("ShadowProductionVariants", [])]
    return StoredConfig(name, frozenset(one["ModelName"] for one in variants if "ModelName" in one), own)


def _owns(client: Any, arn: str, project: str, stack: str) -> bool:
    tags = {tag["Key"]: tag["Value"] for page in _tag_pages(client, arn) for tag in page}
    return tags.get(PROJECT_TAG) == project and tags.get(STACK_TAG) == stack


def _tag_pages(client: Any, arn: str) -> Iterator[list[dict[str, str]]]:
    for page in client.get_paginator("list_tags").paginate(ResourceArn=arn):
        yield page["Tags"]


def _pages(client: Any, operation: str, key: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate():
        yield from page[key]


def _list(client: Any, operation: str, key: str, name: str) -> list[str]:
    return [one[name] for one in _pages(client, operation, key)]
