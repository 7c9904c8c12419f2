"""InvokeEndpoint: from a caller to a variant and back."""

import asyncio
import time
import uuid

import aiohttp
from aiohttp import web

from infra.cloud import calls, streaming
from infra.cloud.asking import Reply, ask, choose
from infra.cloud.calls import Headers
from infra.cloud.capture import Capture, Exchange, now
from infra.cloud.errors import AwsError
from infra.cloud.hosting import Hosting
from infra.cloud.jobs import Outcome, job_of
from infra.cloud.later import Later
from infra.cloud.metrics import Metrics, Series
from infra.cloud.moto_app import ACCOUNT
from infra.cloud.records import Endpoint, Fleet, Variant
from infra.cloud.routing import choose_variant


class Runtime:
    """Answers InvokeEndpoint.

    Args:
        hosting: has the endpoints.
        metrics: counts.
        later: works on asynchronous invocations.
        scale: how much faster than declared their times to live pass.
    """

    def __init__(self, hosting: Hosting, metrics: Metrics, later: Later, scale: float = 1.0) -> None:
        self._hosting = hosting
        self._scale = scale
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
        calls.check(headers, request.content_length)
        self._live(region, name)
        body = await request.content.read()
        if len(body) > calls.BODY_LIMIT:
            raise calls.too_large()
        # Chosen when the body is there: a fleet that was chosen earlier might be retired by now.
        endpoint, fleet = self._live(region, name)
        if "AsyncInferenceConfig" in fleet.config.request:
            raise AwsError("ValidationError", f"Endpoint {name} is asynchronous: use InvokeEndpointAsync.")
        variant = self._variant(endpoint, fleet, headers.get(calls.TARGET_VARIANT))
        self._copy(endpoint, fleet, variant, headers, body)
        reply = await ask(endpoint, variant, headers, body)
        self._count(endpoint, fleet, variant, reply, begun)
        if not reply.ok:
            raise calls.model_error(endpoint, reply.status, reply.body)
        event = str(uuid.uuid4())
        capture = fleet.capture
        if capture is not None and capture.sampled():
            _capture(capture, variant, headers, body, reply, event)
        fields = {"x-Amzn-Invoked-Production-Variant": variant.name, "x-amzn-RequestId": event}
        if reply.content_type:
            fields["Content-Type"] = reply.content_type
        return web.Response(body=reply.body, headers={**fields, **reply.fields})

    async def stream(self, request: web.BaseRequest, region: str, name: str) -> web.StreamResponse:
        """Send a request to a variant and pass its answer on in parts, as they come.

        Raises:
            AwsError: as `invoke`, as long as nothing has been answered; later errors are events of the stream.
        """
        begun = time.perf_counter()
        headers = calls.renamed(request.headers)
        calls.check(request.headers, request.content_length)
        body = await request.content.read()
        endpoint, fleet = self._live(region, name)
        variant = self._variant(endpoint, fleet, request.headers.get(calls.TARGET_VARIANT))
        chosen = await choose(endpoint, variant, headers, body)
        chosen.took()
        try:
            async with chosen.session.post(chosen.invocations, data=body, headers=headers) as answer:
                if not 200 <= answer.status < 300:
                    reply = Reply(answer.status, await answer.read(), "", (time.perf_counter() - begun) * 1e6)
                    self._count(endpoint, fleet, variant, reply, begun)
                    raise calls.model_error(endpoint, reply.status, reply.body)
                response = web.StreamResponse(
                    headers={
                        "Content-Type": streaming.CONTENT_TYPE,
                        calls.CONTENT_TYPE: answer.headers.get("Content-Type", ""),
                        "x-Amzn-Invoked-Production-Variant": variant.name,
                        "x-amzn-RequestId": str(uuid.uuid4()),
                    }
                )
                await response.prepare(request)
                status = await _pass_on(answer, response)
        except aiohttp.ClientError as error:
            raise calls.none_healthy(endpoint, variant) from error
        finally:
            chosen.gave()
        self._count(endpoint, fleet, variant, Reply(status, b"", "", (time.perf_counter() - begun) * 1e6), begun)
        return response

    async def invoke_later(self, request: web.BaseRequest, region: str, name: str) -> web.Response:
        """Queue an asynchronous invocation, whose input lies in S3 or came with it.

        Raises:
            AwsError: ValidationError for an endpoint that is not asynchronous, or without an input.
        """
        calls.check(request.headers, request.content_length)
        headers = calls.renamed(request.headers)
        body = await request.content.read()
        _, fleet = self._live(region, name)
        config = fleet.config.request.get("AsyncInferenceConfig")
        if config is None:
            raise AwsError("ValidationError", f"Endpoint {name} is not asynchronous: use InvokeEndpoint.")

        async def answer(content: bytes, timeout_s: float) -> Outcome:
            begun = time.perf_counter()
            endpoint, live = self._live(region, name)
            variant = self._variant(endpoint, live, None)
            reply = await ask(endpoint, variant, headers, content, timeout_s)
            self._count(endpoint, live, variant, reply, begun)
            return Outcome(reply.ok, reply.body, reply.content_type)

        job = job_of(region, name, request.headers, body, config, self._scale, answer)
        self._later.take(job)
        fields = {"X-Amzn-SageMaker-OutputLocation": job.output, "X-Amzn-SageMaker-FailureLocation": job.failure}
        return web.json_response({"InferenceId": job.inference_id}, status=202, headers=fields)

    def _copy(self, endpoint: Endpoint, fleet: Fleet, variant: Variant, headers: Headers, body: bytes) -> None:
        """Send shadow variants their share of copies; nobody waits for what they answer."""
        for shadow in fleet.shadows.values():
            share = shadow.weight / variant.weight if variant.weight else 1.0
            if self._hosting.draw.random() < share:
                sent = {name: headers[name] for name in calls.FORWARDED if name in headers}
                task = asyncio.get_running_loop().create_task(self._shadow(endpoint, fleet, shadow, sent, body))
                self._copies.add(task)
                task.add_done_callback(self._copies.discard)

    async def _shadow(self, endpoint: Endpoint, fleet: Fleet, shadow: Variant, headers: Headers, body: bytes) -> None:
        begun = time.perf_counter()
        try:
            reply = await ask(endpoint, shadow, headers, body)
        except AwsError:
            return  # a shadow without a healthy instance is nobody's loss
        self._count(endpoint, fleet, shadow, reply, begun)
        capture = fleet.capture
        if reply.ok and capture is not None and capture.sampled():
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

    def _count(self, endpoint: Endpoint, fleet: Fleet, variant: Variant, reply: Reply, begun: float) -> None:
        overhead_us = (time.perf_counter() - begun) * 1e6 - reply.model_us
        config = fleet.config.name if fleet.updated or endpoint.pending is not None else ""
        series = Series(
            endpoint.region, endpoint.name, variant.name, config, "AsyncInferenceConfig" in fleet.config.request
        )
        if reply.setup_us:
            self._metrics.put(endpoint.region, endpoint.name, variant.name, "ModelSetupTime", reply.setup_us)
        # Per declared instance: fewer processes may stand for them here, but scaling has to move the figure.
        busy = variant.fleet.outstanding + 1
        self._metrics.count(series, reply.status, reply.model_us, overhead_us, variant.count, busy)


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
            inference_id=headers.get(calls.INFERENCE_ID),
        ),
    )
