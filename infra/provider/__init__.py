"""The AWS types that stacks use, as a Pulumi provider for the embedded AWS."""

from infra.provider.errors import ProviderError
from infra.provider.plugin import install_plugin
from infra.provider.provider import AwsProvider

__all__ = ["AwsProvider", "ProviderError", "install_plugin"]
