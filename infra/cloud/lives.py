"""What hosting writes into the journal, and what a new life makes of it: pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.cloud.moto_app import Container
from infra.cloud.records import Config, Endpoint, Fleet


@dataclass(frozen=True)
class Life:
    """What it takes to bring an endpoint back.

    Attributes:
        config: what it ran, or was being made of; None for one that failed.
        keep: weights, counts and capture as they were, as `Workshop.prepared` takes them.
        containers: by variant, for models that have been deleted since.
        updated: whether it had been updated, as `Fleet` has it.
        reason: what is to be told of it, such as that an update was cut short.
    """

    config: Config | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)
    containers: Mapping[str, Container] = field(default_factory=dict)
    updated: bool = False
    reason: str | None = None


def moment(text: str | None) -> Any:
    """A moment that was written down; None for none."""
    return None if text is None else datetime.fromisoformat(text)


def written(configs: Iterable[Config], endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Everything, as a JSON document. An endpoint that is being deleted is gone already."""
    known = list(configs)
    by_name = {(config.region, config.name): config for config in known}
    return {
        "configs": [_config(config) for config in known],
        "endpoints": [
            _endpoint(endpoint, by_name.get((endpoint.region, endpoint.config_name)))
            for endpoint in endpoints
            if endpoint.status != "Deleting"
        ],
    }


def configs(document: Mapping[str, Any]) -> list[Config]:
    """The endpoint configurations of a document."""
    return [_read_config(one) for one in document["configs"]]


def endpoints(document: Mapping[str, Any]) -> list[tuple[Endpoint, Life]]:
    """The endpoints of a document, and what it takes to bring each back."""
    return [_read_endpoint(one) for one in document["endpoints"]]


def _config(config: Config) -> dict[str, Any]:
    return {
        "name": config.name,
        "region": config.region,
        "request": config.request,
        "tags": config.tags,
        "created": config.created.isoformat(),
    }


def _read_config(one: Mapping[str, Any]) -> Config:
    return Config(one["name"], one["region"], one["request"], one["tags"], datetime.fromisoformat(one["created"]))


def _endpoint(endpoint: Endpoint, wanted: Config | None) -> dict[str, Any]:
    fleet = endpoint.fleet
    config = wanted if fleet is None else fleet.config  # a fleet's configuration may have been deleted since
    return {
        "name": endpoint.name,
        "region": endpoint.region,
        "config_name": endpoint.config_name,
        "tags": endpoint.tags,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "deployment": endpoint.deployment,
        "created": endpoint.created.isoformat(),
        "modified": endpoint.modified.isoformat(),
        "updating_to": endpoint.pending.fleet.config.name if endpoint.pending else None,
        "config": None if config is None else _config(config),
        "fleet": None if fleet is None else _fleet(fleet),
    }


def _fleet(fleet: Fleet) -> dict[str, Any]:
    return {
        "capture": fleet.capture_config,
        "updated": fleet.updated,
        "variants": {v.name: {"weight": v.weight, "count": v.count} for v in fleet.variants.values()},
        "containers": {
            v.name: [
                v.container.image,
                v.container.artifact,
                dict(v.container.environment),
                v.container.multi_model,
                v.container.hosting,
            ]
            for v in fleet.all_variants
        },
    }


def _read_endpoint(one: Mapping[str, Any]) -> tuple[Endpoint, Life]:
    endpoint = Endpoint(
        one["name"],
        one["region"],
        one["config_name"],
        one["tags"],
        status=one["status"],
        reason=one["reason"],
        deployment=one["deployment"],
        created=datetime.fromisoformat(one["created"]),
        modified=datetime.fromisoformat(one["modified"]),
    )
    if endpoint.status == "Failed" or one["config"] is None:
        endpoint.status = "Failed"
        return endpoint, Life()
    config, fleet = _read_config(one["config"]), one["fleet"]
    if fleet is None:  # it was being made
        return endpoint, Life(config)
    reason = endpoint.reason
    if endpoint.status != "InService":
        target = f" to {one['updating_to']}" if one["updating_to"] else ""
        reason = f"The embedded cloud ended while the endpoint was updated{target}: it runs {config.name} again."
    endpoint.status, endpoint.config_name = "SystemUpdating", config.name
    keep: dict[str, Any] = {
        name: {"InitialVariantWeight": known["weight"], "InitialInstanceCount": known["count"]}
        for name, known in fleet["variants"].items()
    }
    keep[""] = fleet["capture"]
    containers = {name: Container(*known) for name, known in fleet["containers"].items()}
    return endpoint, Life(config, keep, containers, updated=fleet["updated"], reason=reason)
