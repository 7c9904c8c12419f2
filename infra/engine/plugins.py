"""Providers in this process: started, configured, and called with the engine's own values.

A provider runs on one event loop, as it does when it is served as a plugin, and gets what it would get over the wire.
One convention goes beyond Pulumi's interface, for recovery from a crash: `read` with an empty id and the inputs of a
resource whose creation was interrupted asks "is there one?". A provider that can tell answers its id and properties;
any other answers an empty id, or raises, and the creation counts as not done. An exception with a true attribute
`uncertain` says that nothing answered: a creation, update or deletion may have been done, or not.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from pulumi.provider.experimental import provider as p

from infra.engine.errors import EngineError, ProviderError
from infra.engine.planner import Diff
from infra.engine.state import Resource
from infra.engine.values import (
    UNKNOWN,
    Accepts,
    Properties,
    from_properties,
    has_unknown,
    keep_secret,
    plain,
    to_properties,
)

ProviderFactory = Callable[[], p.Provider]
T = TypeVar("T")
_KINDS = {kind: kind.name.lower().replace("_", "-") for kind in p.PropertyDiffKind}


class Loop:
    """An event loop on a thread of its own, and a way to wait for what runs on it."""

    def __init__(self, workers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="provider-io")
        self._loop.set_default_executor(self._pool)
        self._thread = threading.Thread(target=self._loop.run_forever, name="providers", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; called from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Ends the thread, once what runs has ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@dataclass(slots=True)
class Plugin:
    """One configured provider. `ready` is False in a preview whose provider configuration is not known yet."""

    package: str
    provider: p.Provider
    loop: Loop
    accepts: Accepts = field(default_factory=Accepts)
    previews: bool = True
    ready: bool = True

    def _call(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run(work)
        except NotImplementedError as error:
            raise ProviderError(f"provider {self.package!r} cannot {what}: {error}") from error
        except Exception as error:
            uncertain = bool(getattr(error, "uncertain", False))  # a provider's own mark, see the module
            raise ProviderError(str(error) or type(error).__name__, uncertain=uncertain) from error

    def _send(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        return to_properties(properties, self.accepts)

    def _receive(self, properties: Mapping[str, Any] | None, like: Mapping[str, Any]) -> Properties:
        found = from_properties(properties)
        return found if self.accepts.secrets else keep_secret(found, like)

    def check_config(self, urn: str, olds: Properties, news: Properties) -> Properties:
        """The provider's own configuration, checked."""
        request = p.CheckRequest(urn, self._send(olds), self._send(news), b"")
        answer = self._call("check its configuration", self.provider.check_config(request))
        return self._checked(answer, news)

    def diff_config(self, urn: str, identity: str, olds: Properties, news: Properties) -> Diff:
        """How the provider's configuration differs."""
        request = p.DiffRequest(urn, identity, self._send(olds), self._send(news), [])
        return _diff(self._call("compare its configuration", self.provider.diff_config(request)))

    def configure(self, inputs: Properties) -> None:
        """Gives the provider its configuration, and learns what it can do."""
        if has_unknown(inputs):
            self.ready = False
            return
        args = {k: v for k, v in inputs.items() if k != "__internal"}
        variables = {f"{self.package}:config:{k}": _variable(v) for k, v in args.items() if k != "version"}
        request = p.ConfigureRequest(
            variables, to_properties(args, Accepts()), accept_secrets=True, accept_resources=True
        )
        answer = self._call("be configured", self.provider.configure(request))
        self.accepts = Accepts(answer.accept_secrets, answer.accept_resources)
        self.previews, self.ready = answer.supports_preview, True

    def check(self, urn: str, olds: Properties, news: Properties, seed: bytes) -> Properties:
        """The inputs with the provider's defaults, among them automatic names."""
        if not self.ready:
            return news
        request = p.CheckRequest(urn, self._send(olds), self._send(news), seed)
        return self._checked(self._call("check", self.provider.check(request)), news)

    def _checked(self, answer: p.CheckResponse, news: Properties) -> Properties:
        if answer.failures:
            raise ProviderError(
                "; ".join(f"{f.property}: {f.reason}" if f.property else f.reason for f in answer.failures)
            )
        return news if answer.inputs is None else self._receive(answer.inputs, news)

    def diff(self, old: Resource, news: Properties, ignore: tuple[str, ...]) -> Diff:
        """How the old state differs from new inputs."""
        if not self.ready:
            return Diff()
        request = p.DiffRequest(old.urn, old.id, self._send(old.outputs), self._send(news), list(ignore))
        return _diff(self._call("compare", self.provider.diff(request)))

    def create(self, urn: str, inputs: Properties, timeout: float, *, preview: bool) -> tuple[str, Properties]:
        """Makes a resource: its id and outputs. In a preview: no id, and the outputs that are known already."""
        if preview and not (self.ready and self.previews):
            return "", {}
        request = p.CreateRequest(urn, self._send(inputs), timeout, preview)
        answer = self._call("create", self.provider.create(request))
        if not preview and not answer.resource_id:
            raise ProviderError("the provider created it and answered no id")
        return answer.resource_id or "", self._receive(answer.properties, inputs)

    def update(self, old: Resource, new: Resource, ignore: tuple[str, ...], *, preview: bool) -> Properties:
        """Changes a resource: its outputs."""
        if preview and not (self.ready and self.previews):
            return {}
        timeout = new.custom_timeouts.get("update", 0.0)
        request = p.UpdateRequest(
            new.urn, old.id, self._send(old.outputs), self._send(new.inputs), timeout, list(ignore), preview
        )
        return self._receive(self._call("update", self.provider.update(request)).properties, new.inputs)

    def read(
        self, urn: str, identity: str, outputs: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties]:
        """What exists: id ("" where nothing does), outputs and inputs."""
        request = p.ReadRequest(urn, identity, self._send(outputs), self._send(inputs))
        answer = self._call("read", self.provider.read(request))
        like = {**inputs, **outputs}
        return answer.resource_id or "", self._receive(answer.properties, like), self._receive(answer.inputs, like)

    def delete(self, old: Resource) -> None:
        """Deletes a resource."""
        timeout = old.custom_timeouts.get("delete", 0.0)
        self._call("delete", self.provider.delete(p.DeleteRequest(old.urn, old.id, self._send(old.outputs), timeout)))

    def invoke(self, token: str, args: Properties) -> tuple[Properties, list[tuple[str, str]]]:
        """The result of a provider's function, and the arguments that it refused, each with the reason."""
        answer = self._call(f"run {token}", self.provider.invoke(p.InvokeRequest(token, self._send(args))))
        return from_properties(answer.return_value), [(f.property, f.reason) for f in answer.failures]


class Plugins:
    """The providers of one operation, by package. A context: they are closed at its end."""

    def __init__(self, factories: Mapping[str, ProviderFactory], workers: int) -> None:
        self._factories, self._workers = factories, workers
        self._loop: Loop | None = None

    def start(self, package: str) -> Plugin:
        """A new provider for a package, not configured yet.

        Raises:
            EngineError: there is none for that package.
        """
        factory = self._factories.get(package)
        if factory is None:
            known = ", ".join(sorted(self._factories)) or "none"
            raise EngineError(
                f"package {package!r}: the embedded engine has no provider for it (it has: {known}); "
                "run the stack with the real CLI"
            )
        if self._loop is None:
            self._loop = Loop(self._workers)
        return Plugin(package, factory(), self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.close()


def _variable(value: Any) -> str:
    open_value = plain(value)
    return open_value if isinstance(open_value, str) else json.dumps(open_value)


def _diff(answer: p.DiffResponse) -> Diff:
    return Diff(
        changes=answer.changes,
        replaces=tuple(answer.replaces),
        changed=tuple(answer.diffs),
        delete_before_replace=answer.delete_before_replace,
        detailed={path: _KINDS[d.kind] for path, d in answer.detailed_diff.items()},
    )


__all__ = ["UNKNOWN", "Loop", "Plugin", "Plugins", "ProviderFactory"]
