"""InvokeEndpoint: from a caller to an instance and back."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from infra.cloud import streaming
from infra.cloud.capture import Capture, Exchange, now
from infra.cloud.errors import AwsError
from infra.cloud.hosting import Hosting
from infra.cloud.instances import Instance
from infra.cloud.later import INPUT_HEADER, Job, Later, Outcome
from infra.cloud.metrics import Metrics, Series
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.records import Endpoint, Fleet, Variant
from infra.cloud.routing import choose_variant

Headers = Mapping[str, str]

BODY_LIMIT = 6_291_456  # bytes; botocore: InvokeEndpointInput.Body max
ATTRIBUTES_LIMIT = 1024  # characters; botocore: CustomAttributesHeader max
INFERENCE_ID_LIMIT = 64  # characters; botocore: InferenceId max

_CUSTOM = "X-Amzn-SageMaker-Custom-Attributes"
_INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
_TARGET_VARIANT = "X-Amzn-SageMaker-Target-Variant"
# A streamed call has Accept under a name of its own.
_STREAMED = {
    "Content-Type": "Content-Type",
    "X-Amzn-SageMaker-Accept": "Accept",
    _CUSTOM: _CUSTOM,
    _INFERENCE_ID: _INFERENCE_ID,
}
# What a container is sent of a caller's headers.
_FORWARDED = ("Content-Type", "Accept", _CUSTOM, _INFERENCE_ID)
_UNSUPPORTED = {
    "X-Amzn-SageMaker-Target-Model": "multi-model endpoints",
    "X-Amzn-SageMaker-Target-Container-Hostname": "multi-container endpoints",
    "X-Amzn-SageMaker-Inference-Component": "inference components",
    "X-Amzn-SageMaker-Session-Id": "stateful sessions",
}


@dataclass(frozen=True)
class Reply:
    """What a container answered, and how long it took, in microseconds."""

    status: int
    body: bytes
    content_type: str
    attributes: str | None
    model_us: float


class Runtime:
    """Answers InvokeEndpoint."""

    def __init__(self, hosting: Hosting, metrics: Metrics, later: Later) -> None:
        self._hosting = hosting
        self._metrics = metrics
        self._later = later
        self._copies: set[asyncio.Task[None]] = set()

    async def invoke(self, request: web.BaseRequest, region: str, name: str) -> web.Response:
        """Send a request to a variant of endpoint `name`.

        Raises:
            AwsError: ValidationError, ServiceUnavailable, ModelError (424), or 413 for a body over the limit.
        """
        begun = time.perf_counter()
        headers = request.headers
        _check(headers, request.content_length)
        self._live(region, name)
        body = await request.content.read()
        if len(body) > BODY_LIMIT:
            raise _too_large()
        # Chosen when the body is there: a fleet that was chosen earlier might be retired by now.
        endpoint, fleet = self._live(region, name)
        if "AsyncInferenceConfig" in fleet.config.request:
            raise AwsError("ValidationError", f"Endpoint {name} is asynchronous: use InvokeEndpointAsync.")
        variant = self._variant(endpoint, fleet, headers.get(_TARGET_VARIANT))
        self._copy(endpoint, fleet, variant, headers, body)
        reply = await self._ask(endpoint, variant, headers, body)
        self._count(endpoint, fleet, variant, reply, begun)
        if not 200 <= reply.status < 300:
            raise _model_error(endpoint, reply)
        event = str(uuid.uuid4())
        capture = fleet.capture
        if capture is not None and capture.sampled():
            _capture(capture, variant, headers, body, reply, event)
        fields = {"x-Amzn-Invoked-Production-Variant": variant.name, "x-amzn-RequestId": event}
        if reply.content_type:
            fields["Content-Type"] = reply.content_type
        if reply.attributes is not None:
            fields[_CUSTOM] = reply.attributes
        return web.Response(body=reply.body, headers=fields)

    async def stream(self, request: web.BaseRequest, region: str, name: str) -> web.StreamResponse:
        """Send a request to a variant and pass its answer on in parts, as they come.

        Raises:
            AwsError: as `invoke`, as long as nothing has been answered; later errors are events of the stream.
        """
        begun = time.perf_counter()
        headers = request.headers
        _check(headers, request.content_length)
        body = await request.content.read()
        endpoint, fleet = self._live(region, name)
        variant = self._variant(endpoint, fleet, headers.get(_TARGET_VARIANT))
        instance = variant.fleet.pick()
        if instance is None:
            raise _none_healthy(endpoint, variant)
        sent = {to: headers[come] for come, to in _STREAMED.items() if come in headers}
        instance.took()
        try:
            async with instance.session.post(instance.invocations, data=body, headers=sent) as answer:
                if not 200 <= answer.status < 300:
                    reply = Reply(answer.status, await answer.read(), "", None, (time.perf_counter() - begun) * 1e6)
                    self._count(endpoint, fleet, variant, reply, begun)
                    raise _model_error(endpoint, reply)
                response = web.StreamResponse(
                    headers={
                        "Content-Type": streaming.CONTENT_TYPE,
                        "X-Amzn-SageMaker-Content-Type": answer.headers.get("Content-Type", ""),
                        "x-Amzn-Invoked-Production-Variant": variant.name,
                        "x-amzn-RequestId": str(uuid.uuid4()),
                    }
                )
                await response.prepare(request)
                status = await _pass_on(answer, response)
        except aiohttp.ClientError as error:
            raise _none_healthy(endpoint, variant) from error
        finally:
            instance.gave()
        reply = Reply(status, b"", "", None, (time.perf_counter() - begun) * 1e6)
        self._count(endpoint, fleet, variant, reply, begun)
        return response

    async def invoke_later(self, request: web.BaseRequest, region: str, name: str) -> web.Response:
        """Queue an asynchronous invocation, whose input lies in S3.

        Raises:
            AwsError: ValidationError for an endpoint that is not asynchronous, or without an input.
        """
        headers = request.headers
        _check(headers, None)
        _, fleet = self._live(region, name)
        config = fleet.config.request.get("AsyncInferenceConfig")
        if config is None:
            raise AwsError("ValidationError", f"Endpoint {name} is not asynchronous: use InvokeEndpoint.")

        async def ask(body: bytes) -> Outcome:
            begun = time.perf_counter()
            now_live, live_fleet = self._live(region, name)
            variant = self._variant(now_live, live_fleet, None)
            reply = await self._ask(now_live, variant, headers, body)
            self._count(now_live, live_fleet, variant, reply, begun)
            return Outcome(200 <= reply.status < 300, reply.body, reply.content_type)

        identity = headers.get(_INFERENCE_ID) or str(uuid.uuid4())
        job = Job(region, name, identity, headers.get(INPUT_HEADER, ""), config, ask)
        self._later.take(job, sum(variant.count for variant in fleet.variants.values()))
        fields = {"X-Amzn-SageMaker-OutputLocation": job.output, "X-Amzn-SageMaker-FailureLocation": job.failure}
        return web.json_response({"InferenceId": identity}, status=202, headers=fields)

    def _copy(self, endpoint: Endpoint, fleet: Fleet, variant: Variant, headers: Headers, body: bytes) -> None:
        """Send shadow variants their share of copies; nobody waits for what they answer."""
        for shadow in fleet.shadows.values():
            share = shadow.weight / variant.weight if variant.weight else 1.0
            if self._hosting.draw.random() < share:
                task = asyncio.get_running_loop().create_task(
                    self._shadow(endpoint, fleet, shadow, dict(headers), body)
                )
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)

    async def _shadow(self, endpoint: Endpoint, fleet: Fleet, shadow: Variant, headers: Headers, body: bytes) -> None:
        begun = time.perf_counter()
        try:
            reply = await self._ask(endpoint, shadow, headers, body)
        except AwsError:
            return  # a shadow without a healthy instance is nobody's loss
        self._count(endpoint, fleet, shadow, reply, begun)
        capture = fleet.capture
        if 200 <= reply.status < 300 and capture is not None and capture.sampled():
            _capture(capture, shadow, headers, body, reply, str(uuid.uuid4()))

    def _live(self, region: str, name: str) -> tuple[Endpoint, Fleet]:
        endpoint = self._hosting.store.endpoints.get((region, name))
        fleet = (
            None if endpoint is None else endpoint.fleet_for(self._hosting.draw.random() if endpoint.pending else 1.0)
        )
        if endpoint is None or fleet is None:
            raise AwsError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        return endpoint, fleet

    def _variant(self, endpoint: Endpoint, fleet: Fleet, target: str | None) -> Variant:
        variants = fleet.variants
        if target is not None:
            if target not in variants:
                raise AwsError("ValidationError", f"Variant {target} of endpoint {endpoint.name} not found.")
            return variants[target]
        weights = {variant.name: variant.weight for variant in variants.values()}
        chosen = choose_variant(weights, self._hosting.draw.random())
        if chosen is None:
            raise AwsError("ValidationError", f"No variant of endpoint {endpoint.name} has a weight above 0.")
        return variants[chosen]

    async def _ask(self, endpoint: Endpoint, variant: Variant, headers: Headers, body: bytes) -> Reply:
        _admit(endpoint, variant)
        sent = {name: headers[name] for name in _FORWARDED if name in headers}
        for _ in range(len(variant.fleet.instances)):
            instance = variant.fleet.pick()
            if instance is None:
                break
            try:
                return await _post(instance, sent, body)
            except aiohttp.ClientConnectorError:
                continue  # nothing was sent: another instance may take it
        raise _none_healthy(endpoint, variant)

    def _count(self, endpoint: Endpoint, fleet: Fleet, variant: Variant, reply: Reply, begun: float) -> None:
        overhead_us = (time.perf_counter() - begun) * 1e6 - reply.model_us
        config = fleet.config.name if endpoint.pending is not None else ""
        series = Series(endpoint.region, endpoint.name, variant.name, config)
        # Per declared instance: fewer processes may stand for them here, but scaling has to move the figure.
        busy = variant.fleet.outstanding + 1
        self._metrics.count(series, reply.status, reply.model_us, overhead_us, variant.count, busy)


def _admit(endpoint: Endpoint, variant: Variant) -> None:
    """A serverless variant takes so many requests at once, and throttles the others.

    Raises:
        AwsError: ThrottlingException, 429.
    """
    if variant.serverless is not None and variant.fleet.outstanding >= variant.serverless["MaxConcurrency"]:
        most = variant.serverless["MaxConcurrency"]
        text = f"Rate exceeded: variant {variant.name} of {endpoint.name} has {most} concurrent invocations."
        raise AwsError("ThrottlingException", text, 429)


def _none_healthy(endpoint: Endpoint, variant: Variant) -> AwsError:
    text = f"Variant {variant.name} of endpoint {endpoint.name} has no healthy instance."
    return AwsError("ServiceUnavailable", text, 503)


async def _pass_on(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> int:
    """Pass an answer's parts on; its status, or 0 when it broke off."""
    try:
        async for chunk in answer.content.iter_any():
            await response.write(streaming.part(chunk))
    except (aiohttp.ClientError, TimeoutError) as error:
        await response.write(streaming.failure("ModelStreamError", f"the container's answer broke off: {error!r}"))
        await response.write_eof()
        return 0
    await response.write_eof()
    return answer.status


async def _post(instance: Instance, headers: dict[str, str], body: bytes) -> Reply:
    """One attempt; a connection that breaks, a timeout or an answer that is too large is a reply with status 0."""
    instance.took()
    begun = time.perf_counter()
    try:
        async with instance.session.post(instance.invocations, data=body, headers=headers) as response:
            content = await response.read()
            fields = response.headers
            reply = Reply(
                response.status,
                content,
                fields.get("Content-Type", ""),
                fields.get(_CUSTOM),
                (time.perf_counter() - begun) * 1e6,
            )
    except aiohttp.ClientConnectorError:
        raise
    except TimeoutError:
        return _no_reply(
            "Your invocation timed out while waiting for a response from container primary. Review the latency metrics"
            " for each container in Amazon CloudWatch, resolve the issue, and try again.",
            begun,
        )
    except aiohttp.ClientError:
        return _no_reply("", begun)
    finally:
        instance.gave()
    if len(content) > BODY_LIMIT:
        return _no_reply(f"The response of {len(content)} bytes is larger than {BODY_LIMIT} bytes.", begun)
    return reply


def _no_reply(message: str, begun: float) -> Reply:
    return Reply(0, message.encode(), "", None, (time.perf_counter() - begun) * 1e6)


def _check(headers: Headers, length: int | None) -> None:
    if length is not None and length > BODY_LIMIT:
        raise _too_large()
    for name, limit in ((_CUSTOM, ATTRIBUTES_LIMIT), (_INFERENCE_ID, INFERENCE_ID_LIMIT)):
        value = headers.get(name, "")
        if len(value) > limit:
            raise AwsError(
                "ValidationError",
                f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint:"
                f" Member must have length less than or equal to {limit}",
            )
    for name, what in _UNSUPPORTED.items():
        if name in headers:
            raise AwsError("ValidationError", f"{name}: {what} are not supported by the embedded cloud.")


def _too_large() -> AwsError:
    return AwsError("", f"HTTP content length exceeded {BODY_LIMIT} bytes.", 413)


def _model_error(endpoint: Endpoint, reply: Reply) -> AwsError:
    kind = "client" if 400 <= reply.status < 500 else "server"
    text = reply.body.decode(errors="replace")
    said = f'with message "{text}"' if text else "and could not load the entire response body"
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    console = f"https://{endpoint.region}.console.aws.amazon.com/cloudwatch/home?region={endpoint.region}"
    return AwsError(
        "ModelError",
        f"Received {kind} error ({reply.status}) from primary {said}. See {console}#logEventViewer:group={group}"
        f" in account {ACCOUNT} for more information.",
        424,
        {
            "OriginalStatusCode": reply.status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{group}",
        },
    )


def _capture(capture: Capture, variant: Variant, headers: Headers, body: bytes, reply: Reply, event: str) -> None:
    capture.add(
        variant.name,
        Exchange(
            event_id=event,
            moment=now(),
            request=body,
            request_type=headers.get("Content-Type", ""),
            response=reply.body,
            response_type=reply.content_type,
            inference_id=headers.get(_INFERENCE_ID),
        ),
    )
