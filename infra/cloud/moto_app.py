"""moto, in this process: its WSGI application behind the front, and the few of its backends that hosting reads."""

import asyncio
import io
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

# Read when moto is imported: browsers are refused at the front, and no header may invite them in.
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

from aiohttp import web
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from infra.cloud import moto_s3
from infra.cloud.errors import AwsError, InstanceError

ACCOUNT = str(DEFAULT_ACCOUNT_ID)
# Enough for parallel uploads beside control calls; moto holds the interpreter lock most of the time anyway.
_THREADS = 8


@dataclass(frozen=True)
class Container:
    """What hosting needs to know of a model: its image, its artifact (s3://…, or None) and its environment."""

    image: str
    artifact: str | None
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Scalable:
    """A registered target of Application Auto Scaling.

    `policies` are names and target tracking configurations; `schedules` and `record` are moto's own objects.
    """

    region: str
    resource: str
    lowest: int
    highest: int
    policies: tuple[tuple[str, dict[str, Any]], ...]
    schedules: tuple[Any, ...]
    record: Any


class Moto:
    """Every AWS service but SageMaker hosting."""

    def __init__(self) -> None:
        moto_s3.install()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="moto")

    def close(self) -> None:
        """Wait for calls under way, and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer an HTTP request, whose body was read, as the AWS service that it is signed for."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, _environ(request, body))

    def _call(self, environ: dict[str, Any]) -> web.Response:
        status = 500
        fields: list[tuple[str, str]] = []

        def start_response(line: str, headers: list[tuple[str, str]], *_: object) -> None:
            nonlocal status, fields
            status, fields = int(line.split(" ", 1)[0]), headers

        chunks: Iterable[bytes] = self._app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        response = web.Response(status=status, body=body)
        response.headers.popall("Content-Type", None)
        for name, value in fields:
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                response.headers.add(name, value)
        return response

    # What hosting asks of the other services, by the shortest way: no HTTP, no signature.

    def has_model(self, region: str, name: str) -> bool:
        """Whether CreateModel has made this model."""
        return name in get_backend("sagemaker")[ACCOUNT][region]._models  # noqa: SLF001 - moto has no public question

    def forget_package_group(self, region: str, name: str) -> bool:
        """Remove a model package group; False when there is none of this name."""
        groups = get_backend("sagemaker")[ACCOUNT][region].model_package_groups
        return groups.pop(name, None) is not None

    def container(self, region: str, name: str) -> Container:
        """The one container of a model.

        Raises:
            InstanceError: the model is gone, or it is a pipeline of several containers.
        """
        if not self.has_model(region, name):
            raise InstanceError(f"model {name} does not exist any more: create it again, then update the endpoint")
        model = get_backend("sagemaker")[ACCOUNT][region].describe_model(name)
        containers = [model.primary_container] if model.primary_container else list(model.containers)
        if len(containers) != 1:
            raise InstanceError(f"model {name} has {len(containers)} containers: only models of one container run here")
        source = containers[0].get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri")
        return Container(
            image=containers[0].get("Image", ""),
            artifact=containers[0].get("ModelDataUrl") or source,
            environment=containers[0].get("Environment") or {},
        )

    def read_object(self, bucket: str, key: str) -> bytes:
        """An object of the embedded S3.

        Raises:
            InstanceError: there is no such object.
        """
        found = None
        store = get_backend("s3")[ACCOUNT]["aws"]
        if bucket in store.buckets:
            found = store.get_object(bucket, key)
        if found is None:
            raise InstanceError(
                f"s3://{bucket}/{key} does not exist: upload the artifact, then create the endpoint again"
            )
        return bytes(found.value)

    def write_object(self, bucket: str, key: str, value: bytes, content_type: str) -> None:
        """Put an object into the embedded S3; raises moto's own error when the bucket does not exist."""
        made = get_backend("s3")[ACCOUNT]["aws"].put_object(bucket, key, value)
        made.set_metadata({"Content-Type": content_type})

    def put_log_events(self, region: str, group: str, stream: str, events: list[tuple[int, str]]) -> None:
        """Put events into the embedded CloudWatch Logs; group and stream are made when they are not there."""
        logs = get_backend("logs")[ACCOUNT][region]
        if group not in logs.groups:
            logs.create_log_group(group, {})
        if stream not in logs.groups[group].streams:
            logs.create_log_stream(group, stream)
        logs.put_log_events(group, stream, [{"timestamp": moment, "message": text} for moment, text in events])

    def scalables(self) -> list[Scalable]:
        """The scalable variants of every region."""
        made = []
        for region, backend in get_backend("applicationautoscaling")[ACCOUNT].items():
            for target in backend.targets.get("sagemaker:variant:DesiredInstanceCount", {}).values():
                resource = target.resource_id
                policies = tuple(
                    (policy.policy_name, policy.target_tracking_scaling_policy_configuration)
                    for policy in backend.policies.values()
                    if policy.resource_id == resource and policy.target_tracking_scaling_policy_configuration
                )
                schedules = tuple(one for one in backend.scheduled_actions if one.resource_id == resource)
                low, high = target.min_capacity or 0, target.max_capacity or 0
                made.append(Scalable(region, resource, low, high, policies, schedules, target))
        return made

    def notify(self, region: str, action: str, subject: str, message: str) -> None:
        """Carry an alarm's action out: publish to an SNS topic. Other actions are AWS's own and do nothing here.

        Raises:
            AwsError: the topic does not exist.
        """
        if ":sns:" not in action:
            return
        topics = get_backend("sns")[ACCOUNT][region]
        if action not in topics.topics:
            raise AwsError("NotFound", f"topic {action} does not exist")
        topics.publish(message, arn=action, subject=subject[:100])


def _environ(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    """The request as WSGI's environment (PEP 3333), with what moto's own server adds to it."""
    target = request.raw_path
    path, _, query = target.partition("?")
    host, _, port = request.host.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_NAME": host or request.host,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": request.remote or "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    dashed = {environ_key_for_header(name) for name in request.headers if "_" not in name}
    preserved: dict[str, str] = {}
    for name, value in request.headers.items():
        key = environ_key_for_header(name)
        if "_" in name:
            if not should_preserve_original_header_name(name) or key in dashed:
                continue
            preserved.setdefault(key, name)
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
    environ.pop("HTTP_TRANSFER_ENCODING", None)  # the body is whole by now
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def seconds(moment: datetime) -> float:
    """A moment as JSON protocols carry it: seconds since 1970, to the millisecond."""
    return round(moment.timestamp(), 3)
