"""The provider's configuration, read and judged without effect. Only addresses on this machine are accepted."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.provider.errors import ConfigurationError
from infra.provider.values import UNKNOWN, Plain, Properties

REMEDY = "`sagestage pulumi` and `sagestage up` write it for the running cloud into stacks/Pulumi.local.yaml"

# botocore's service name -> the names it has in `aws:endpoints` of pulumi_aws.
ENDPOINT_NAMES: Mapping[str, tuple[str, ...]] = {
    "application-autoscaling": ("appautoscaling", "applicationautoscaling"),
    "budgets": ("budgets",),
    "cloudwatch": ("cloudwatch",),
    "ecr": ("ecr",),
    "events": ("eventbridge", "events", "cloudwatchevents"),
    "iam": ("iam",),
    "kms": ("kms",),
    "logs": ("logs", "cloudwatchlogs", "cloudwatchlog"),
    "s3": ("s3", "s3api"),
    "sagemaker": ("sagemaker",),
    "sns": ("sns",),
    "sts": ("sts",),
}

# What the real provider has and what makes no difference here, so that one configuration serves both.
IGNORED = frozenset(
    [
        "allowedAccountIds",
        "forbiddenAccountIds",
        "insecure",
        "maxRetries",
        "pluginDownloadURL",
        "retryMode",
        "s3UsEast1RegionalEndpoint",
        "s3UsePathStyle",
        "skipCredentialsValidation",
        "skipMetadataApiCheck",
        "skipRegionValidation",
        "skipRequestingAccountId",
        "stsRegion",
        "token",
        "userAgents",
        "version",
    ]
)
READ = frozenset({"region", "accessKey", "secretKey", "endpoints", "defaultTags"})


@dataclass(frozen=True)
class Settings:
    """Where the provider's calls go and with which (dummy) keys; `default_tags` are on every taggable resource."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    default_tags: Mapping[str, str] = field(default_factory=dict)

    def endpoint(self, service: str) -> str:
        """The address for a service, in botocore's spelling.

        Raises:
            ConfigurationError: none is configured; the environment and AWS profiles are never asked.
        """
        names = ENDPOINT_NAMES.get(service, (service,))
        for name in names:
            if name in self.endpoints:
                return self.endpoints[name]
        raise ConfigurationError(f"aws:endpoints has no address for {names[0]}: {REMEDY}")


def problems(args: Properties) -> list[tuple[str, str]]:
    """What is wrong with a provider's configuration: (property, reason)."""
    found = [
        (name, f"aws:{name} is not supported by the local provider: it talks to this machine only, with dummy keys")
        for name in sorted(args.keys() - READ - IGNORED)
    ]
    if any(value is UNKNOWN for value in args.values()):
        return found
    try:
        settings(args)
    except ConfigurationError as error:
        found.append(("endpoints" if "endpoint" in str(error) else "", str(error)))
    return found


def settings(args: Properties) -> Settings:
    """The settings in a provider's configuration, whose structured values the engine hands over as JSON text.

    Raises:
        ConfigurationError: region, keys or endpoints are missing or malformed, or an endpoint is not on loopback.
    """
    for name in ("region", "accessKey", "secretKey"):
        if not isinstance(args.get(name), str) or not args[name]:
            raise ConfigurationError(f"aws:{name} is missing: no AWS profile or environment is used; {REMEDY}")
    endpoints = _endpoints(_structured("endpoints", args.get("endpoints")))
    if not endpoints:
        raise ConfigurationError(f"aws:endpoints is missing, so calls would go to AWS itself: {REMEDY}")
    for name, url in endpoints.items():
        if not is_loopback(url):
            raise ConfigurationError(
                f"aws:endpoints sends {name} to {url!r}, which is not on this machine: the local provider talks to "
                f"http://127.0.0.1 only; use the real AWS provider (plain `pulumi up`) for anything else"
            )
    defaults = _structured("defaultTags", args.get("defaultTags"))
    tags = defaults.get("tags", {}) if isinstance(defaults, dict) else {}
    if not isinstance(tags, dict):
        raise ConfigurationError(f"aws:defaultTags must be an object with `tags`, got {defaults!r}")
    return Settings(
        region=str(args["region"]),
        access_key=str(args["accessKey"]),
        secret_key=str(args["secretKey"]),
        endpoints=endpoints,
        default_tags={name: str(value) for name, value in tags.items()},
    )


def is_loopback(url: str) -> bool:
    """Whether the URL leads to this very machine, by number or as `localhost`; credentials in it are refused."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or parts.username or parts.port == 0:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _structured(name: str, value: Plain) -> Plain:
    if not isinstance(value, str):
        return value
    try:
        parsed: Plain = json.loads(value)
    except ValueError:
        raise ConfigurationError(f"aws:{name} is not JSON: {value!r}") from None
    return parsed


def _endpoints(value: Plain) -> dict[str, str]:
    if value is None:
        return {}
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ConfigurationError(f"aws:endpoints must be a list of objects from service to URL, got {value!r}")
    found: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(url, str) for url in entry.values()):
            raise ConfigurationError(f"aws:endpoints must hold objects from service to URL, got {entry!r}")
        found.update({name: str(url) for name, url in entry.items()})
    return found
