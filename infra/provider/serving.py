"""Serving the provider to the real engine: the plugin `pulumi-resource-aws`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from pulumi.provider.experimental import provider as p
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2_grpc

from infra.provider.errors import ConfigurationError, ProviderError
from infra.provider.provider import AwsProvider

PARENT_CHECK_S = 1.0
_ANSWERING = ("CheckConfig", "Configure", "Invoke", "Check", "Diff", "Create", "Read", "Update", "Delete")


def serve(arguments: list[str]) -> None:
    """Serve the provider on a free port of loopback until the engine ends it; the port is the first line printed."""
    asyncio.run(_serve(arguments))


async def _serve(arguments: list[str]) -> None:
    parent = os.getppid()
    server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
    provider = GuardedProvider()
    engine = next((each for each in arguments if not each.startswith("-")), "")
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(
        Servicer(arguments, provider.version, provider, engine), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201 - the engine reads it
    # The engine ends its plugins; where it is killed itself, nobody does, and a parent's death is no event.
    while await server.wait_for_termination(PARENT_CHECK_S) and os.getppid() == parent:
        continue
    await server.stop(grace=None)


def foreign_backend(url: str) -> bool:
    """Whether a state backend is a user's own: the stand-in's are files in a folder `.sagestage`."""
    parts = urlsplit(url)
    return parts.scheme != "file" or ".sagestage" not in Path(parts.path).parts


class GuardedProvider(AwsProvider):
    """As a plugin, the stand-in refuses to work for a state in which real resources may be recorded."""

    async def configure(self, request: p.ConfigureRequest) -> p.ConfigureResponse:
        """Take the configuration, if the CLI keeps its state in a backend of ours.

        Raises:
            ConfigurationError: it does not, or the configuration is refused.
        """
        url = os.environ.get("PULUMI_BACKEND_URL", "")
        if foreign_backend(url):
            raise ConfigurationError(
                f"the local AWS provider never works on a state of real resources, and PULUMI_BACKEND_URL is "
                f"{url or 'not set'}: use `sagestage pulumi -- …`, whose backend is in .sagestage/"
            )
        return await super().configure(request)


class Servicer(ProviderServicer):
    """Pulumi's servicer, whose errors are one line for the user where they are ours."""


def _plainly(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def answer(self: Servicer, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except Exception as error:
            cause = error.__context__  # Pulumi's wrapper raises a new exception with the traceback in its text
            if isinstance(cause, ProviderError):
                await context.abort(grpc.StatusCode.UNKNOWN, str(cause))
            raise

    return answer


for _name in _ANSWERING:
    setattr(Servicer, _name, _plainly(getattr(ProviderServicer, _name)))
