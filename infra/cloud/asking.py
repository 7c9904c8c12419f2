"""From a variant to one of its instances and back: admission, sessions, cold starts, models on demand."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from infra.cloud import calls, sessions
from infra.cloud.calls import Headers
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.instances import Instance
from infra.cloud.records import Endpoint, Variant

NOT_LOADED = 404


@dataclass(frozen=True)
class Reply:
    """What a container answered, and how long it took, in microseconds.

    `fields` are the headers that the caller gets beside the content type. `setup_us` is the cold start before it.
    """

    status: int
    body: bytes
    content_type: str
    model_us: float
    fields: Mapping[str, str] = field(default_factory=dict)
    setup_us: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it is an answer and no error."""
        return 200 <= self.status < 300


async def ask(
    endpoint: Endpoint, variant: Variant, headers: Headers, body: bytes, timeout_s: float | None = None
) -> Reply:
    """Have an instance of a variant answer.

    Args:
        endpoint: whose variant it is.
        variant: that answers.
        headers: of the caller.
        body: of the request.
        timeout_s: what the container is given, where that is not InvokeEndpoint's minute.

    Raises:
        AwsError: ValidationError, ThrottlingException, ServiceUnavailable; errors of the container are replies.
    """
    _check(endpoint, variant, headers, body)
    if variant.warmth is None:
        return await _ask(endpoint, variant, headers, body, timeout_s)
    most = 0 if variant.serverless is None else variant.serverless["MaxConcurrency"]
    if variant.warmth.asked >= most:
        raise calls.throttled(endpoint, variant, most)
    variant.warmth.asked += 1
    try:
        setup_us = await variant.warmth.wake()
        reply = await _ask(endpoint, variant, headers, body, timeout_s)
    except InstanceError as error:
        raise calls.none_healthy(endpoint, variant) from error
    finally:
        variant.warmth.asked -= 1
    return Reply(reply.status, reply.body, reply.content_type, reply.model_us, reply.fields, setup_us)


async def choose(endpoint: Endpoint, variant: Variant, headers: Headers, body: bytes) -> Instance:
    """An instance for a call whose answer is streamed.

    Raises:
        AwsError: as `ask`.
    """
    _check(endpoint, variant, headers, body)
    session = headers.get(calls.SESSION)
    if session == sessions.CREATE:
        raise AwsError("ValidationError", "InvokeEndpointWithResponseStream cannot make a session: use InvokeEndpoint.")
    try:
        if variant.warmth is not None:
            await variant.warmth.wake()
    except InstanceError as error:
        raise calls.none_healthy(endpoint, variant) from error
    instance = _seat(endpoint, variant, session) or variant.fleet.pick()
    if instance is None:
        raise calls.none_healthy(endpoint, variant)
    return instance


def _check(endpoint: Endpoint, variant: Variant, headers: Headers, body: bytes) -> None:
    if variant.serverless is not None and len(body) > calls.SERVERLESS_BODY_LIMIT:
        raise calls.too_large(calls.SERVERLESS_BODY_LIMIT)
    if variant.models is None and calls.TARGET_MODEL in headers:
        text = f"Endpoint {endpoint.name} is not a multi-model endpoint and does not support target model header."
        raise AwsError("ValidationError", text)
    if variant.models is not None and calls.TARGET_MODEL not in headers:
        text = f"Endpoint {endpoint.name} is a multi-model endpoint: the request needs a TargetModel."
        raise AwsError("ValidationError", text)


async def _ask(endpoint: Endpoint, variant: Variant, headers: Headers, body: bytes, timeout_s: float | None) -> Reply:
    sent = {name: headers[name] for name in calls.FORWARDED if name in headers}
    session = headers.get(calls.SESSION)
    for _ in range(len(variant.fleet.instances)):
        instance = _seat(endpoint, variant, session) or variant.fleet.pick()
        if instance is None:
            break
        try:
            reply = await _send(endpoint, variant, instance, sent, body, timeout_s)
        except aiohttp.ClientConnectorError:
            continue  # nothing was sent: another instance may take it
        if told := reply.fields.get(calls.NEW_SESSION):
            variant.sessions.made(told, instance)
        if told := reply.fields.get(calls.CLOSED_SESSION):
            variant.sessions.closed(told)
        return reply
    raise calls.none_healthy(endpoint, variant)


def _seat(endpoint: Endpoint, variant: Variant, session: str | None) -> Instance | None:
    """The instance that has the session; None where the request is of none.

    Raises:
        AwsError: the session is over, or its instance is gone.
    """
    if session is None or session == sessions.CREATE:
        return None
    instance: Instance | None = variant.sessions.instance(session)
    if instance is None or instance not in variant.fleet.instances:
        raise AwsError("ValidationError", f"Session {session} of endpoint {endpoint.name} does not exist, or is over.")
    return instance


async def _send(
    endpoint: Endpoint,
    variant: Variant,
    instance: Instance,
    sent: dict[str, str],
    body: bytes,
    timeout_s: float | None,
) -> Reply:
    if variant.models is None:
        return await post(instance, sent, body, timeout_s=timeout_s)
    instance.took()  # a model that it is asked for must not be unloaded under the request
    try:
        path = await variant.models.path(endpoint, variant, instance, sent[calls.TARGET_MODEL])
        reply = await post(instance, sent, body, path=path, timeout_s=timeout_s)
        if reply.status == NOT_LOADED:  # a container may unload by itself what it has no room for
            variant.models.forget(instance, sent[calls.TARGET_MODEL])
            path = await variant.models.path(endpoint, variant, instance, sent[calls.TARGET_MODEL])
            reply = await post(instance, sent, body, path=path, timeout_s=timeout_s)
        return reply
    finally:
        instance.gave()


async def post(
    instance: Instance, headers: dict[str, str], body: bytes, *, path: str = "", timeout_s: float | None = None
) -> Reply:
    """One attempt; a connection that breaks, a timeout or an answer that is too large is a reply with status 0.

    Raises:
        aiohttp.ClientConnectorError: nothing was sent.
    """
    instance.took()
    begun = time.perf_counter()
    more = {} if timeout_s is None else {"timeout": aiohttp.ClientTimeout(total=timeout_s)}
    url = instance.url.with_path(path) if path else instance.invocations
    try:
        async with instance.session.post(url, data=body, headers=headers, **more) as response:  # type: ignore[arg-type]  # one option
            content = await response.read()
            fields = response.headers
            reply = Reply(
                response.status,
                content,
                fields.get("Content-Type", ""),
                (time.perf_counter() - begun) * 1e6,
                {name: fields[name] for name in calls.RETURNED if name in fields},
            )
    except aiohttp.ClientConnectorError:
        raise
    except TimeoutError:
        return _no_reply(
            "Your invocation timed out while waiting for a response from container primary. Review the latency metrics"
            " for each container in Amazon CloudWatch, resolve the issue, and try again.",
            begun,
        )
    except (aiohttp.ClientError, ValueError):  # a ValueError: what came is no HTTP
        return _no_reply("", begun)
    finally:
        instance.gave()
    if len(content) > calls.BODY_LIMIT and timeout_s is None:
        return _no_reply(f"The response of {len(content)} bytes is larger than {calls.BODY_LIMIT} bytes.", begun)
    return reply


def _no_reply(message: str, begun: float) -> Reply:
    return Reply(0, message.encode(), "", (time.perf_counter() - begun) * 1e6)
