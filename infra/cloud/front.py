"""The one address: hosting's calls go to hosting, all others to moto."""

import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

from infra.cloud import guard
from infra.cloud.api import Api
from infra.cloud.errors import AwsError, JournalError
from infra.cloud.moto_app import Moto
from infra.cloud.runtime import Runtime

OWN_PATHS = "/_sagestage/"  # no bucket's name starts with an underscore
_JSON = "application/x-amz-json-1.1"
_INVOCATION = re.compile(r"/endpoints/([^/?]+)/invocations/?(?:\?.*)?")
_STREAM = re.compile(r"/endpoints/([^/?]+)/invocations-response-stream(?:\?.*)?")
_LATER = re.compile(r"/endpoints/([^/?]+)/async-invocations(?:\?.*)?")
_INTERRUPT = re.compile(r"training-jobs/([^/?]+)/interrupt")
_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")

log = logging.getLogger(__name__)


class Front:
    """Answers HTTP requests.

    Args:
        api: the control plane of hosting.
        runtime: InvokeEndpoint.
        moto: everything else.
        region: the region of requests that are not signed.
        status: what `GET /_sagestage/status` shows; its `id` is what `GET /_sagestage/health` shows.
        interrupt: takes a spot job's capacity back, by region and name; `POST /_sagestage/training-jobs/NAME/interrupt`
            calls it.
    """

    def __init__(
        self,
        api: Api,
        runtime: Runtime,
        moto: Moto,
        region: str,
        status: Callable[[], Mapping[str, Any]],
        interrupt: Callable[[str, str], None],
    ) -> None:
        self._api = api
        self._runtime = runtime
        self._moto = moto
        self._region = region
        self._status = status
        self._interrupt = interrupt

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; errors have the shape of the service that is called."""
        refused = guard.refusal(request.headers)
        if refused is not None:
            return _error(AwsError("AccessDenied", refused, 403), _JSON)
        if request.headers.get("Expect", "").lower() == "100-continue":  # botocore's S3 client waits for it
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            return await self._route(request)
        except AwsError as error:
            return _error(error, _JSON)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        signed = _SCOPE.search(request.headers.get("Authorization", ""))
        region, service = (signed[1], signed[2]) if signed else (self._region, "sagemaker")
        if request.method == "POST" and service == "sagemaker":
            invocation = _INVOCATION.fullmatch(path)
            if invocation:
                return await self._runtime.invoke(request, region, unquote(invocation[1]))
            if stream := _STREAM.fullmatch(path):
                return await self._runtime.stream(request, region, unquote(stream[1]))
            if later := _LATER.fullmatch(path):
                return await self._runtime.invoke_later(request, region, unquote(later[1]))
            target = request.headers.get("X-Amz-Target", "")
            if target.startswith("SageMaker."):
                return await self._control(request, target.removeprefix("SageMaker."), region)
        if path.startswith(OWN_PATHS):
            return self._own(request, path.removeprefix(OWN_PATHS), region)
        return await self._from_moto(request, service, await request.content.read())

    async def _control(self, request: web.BaseRequest, name: str, region: str) -> web.StreamResponse:
        body = await request.content.read()
        try:
            params = json.loads(body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", f"The request's body is not JSON: {error}") from error
        try:
            answer = self._api.call(name, region, params)
        except JournalError as error:
            raise _unwritten(error) from error
        if answer is None:
            return await self._from_moto(request, "sagemaker", body)
        headers = {"Content-Type": _JSON, "x-amzn-RequestId": str(uuid.uuid4())}
        return web.Response(body=json.dumps(answer).encode(), headers=headers)

    async def _from_moto(self, request: web.BaseRequest, service: str, body: bytes) -> web.StreamResponse:
        try:
            return await self._moto.answer(request, body)
        except JournalError as error:
            return _error(_unwritten(error), request.content_type)
        except NotImplementedError as error:
            what = request.headers.get("X-Amz-Target") or f"{service}: {request.method} {request.path}"
            log.warning("not implemented: %s %s", what, error)
            missing = AwsError("NotImplemented", f"the embedded cloud does not implement {what}", 501)
            return _error(missing, request.content_type)
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            failed = AwsError("InternalFailure", f"the embedded cloud failed: {error!r}", 500)
            return _error(failed, request.content_type)

    def _own(self, request: web.BaseRequest, page: str, region: str) -> web.Response:
        if request.method == "POST" and (job := _INTERRUPT.fullmatch(page)):
            self._interrupt(region, unquote(job[1]))
            return web.json_response({})
        status = self._status()
        match page:
            case "health":
                return web.json_response({"id": status["id"]})
            case "status":
                return web.json_response(status)
            case _:
                raise AwsError("NotFound", f"{OWN_PATHS}{page} does not exist: health, status", 404)


def _unwritten(error: JournalError) -> AwsError:
    log.error("the journal cannot be written: %s", error)
    what = f"it was done, but would not outlive the embedded cloud: its journal cannot be written ({error})"
    return AwsError("InternalFailure", f"{what}. Free space on its disk, then call again.", 500)


def _error(error: AwsError, content_type: str) -> web.Response:
    """An error as the JSON protocols carry it, or as the XML ones do."""
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    if error.code:
        headers["x-amzn-ErrorType"] = error.code
    if "json" in content_type:
        # `__type` and `message` are read by JSON 1.1 clients, `Message` and the details by the runtime's.
        body: dict[str, Any] = {"message": error.message, "Message": error.message, **error.details}
        if error.code:
            body["__type"] = error.code
        return web.Response(
            status=error.status, body=json.dumps(body).encode(), headers={**headers, "Content-Type": _JSON}
        )
    inner = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
    text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
    return web.Response(status=error.status, text=text, content_type="text/xml", headers=headers)
