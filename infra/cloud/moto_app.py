"""moto, in this process: its WSGI application behind the front, and the few of its backends that hosting reads."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Read when moto is imported: browsers are refused at the front, and no header may invite them in.
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

from aiohttp import web
from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from infra.cloud import moto_models, moto_s3, moto_wsgi, replay
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.journal import Journal

HOSTING_TAG = "sagestage:hosting"
"""infra.Model puts it on models of a stack whose configuration says how they are run here."""
ACCOUNT = str(DEFAULT_ACCOUNT_ID)
# Enough for parallel uploads beside control calls; moto holds the interpreter lock most of the time anyway.
_THREADS = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Container:
    """What hosting needs to know of a model: its image, its artifact (s3://…, or None) and its environment.

    The artifact of a multi-model one is a prefix. `hosting` is process or container where the model's tag says so.
    """

    image: str
    artifact: str | None
    environment: Mapping[str, str]
    multi_model: bool = False
    hosting: str = ""


@dataclass(frozen=True)
class Scalable:
    """A registered target of Application Auto Scaling.

    `policies` are names and target tracking configurations, `steps` ARNs and step scaling configurations; `schedules`
    and `record` are moto's own objects.
    """

    region: str
    resource: str
    lowest: int
    highest: int
    policies: tuple[tuple[str, dict[str, Any]], ...]
    steps: tuple[tuple[str, dict[str, Any]], ...]
    schedules: tuple[Any, ...]
    record: Any


class Moto:
    """Every AWS service but SageMaker hosting.

    Args:
        journal: where calls that change something are kept.
    """

    def __init__(self, journal: Journal) -> None:
        moto_s3.install()
        moto_models.install()
        replay.install()
        self._journal = journal
        self._app = DomainDispatcherApplication(create_backend_app)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="moto")

    def close(self) -> None:
        """Wait for calls under way, and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer an HTTP request, whose body was read, as the AWS service that it is signed for.

        Raises:
            JournalError: the call was made, but could not be kept in the journal.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, moto_wsgi.environ_of(request, body), body)

    def replay(self) -> int:
        """Make every call of an earlier life again; how many they were."""
        count = 0
        for entry, body in self._journal.calls():
            count += 1
            if "object" in entry:
                with contextlib.suppress(Exception):  # its bucket was deleted later, or by force
                    bucket, key, content_type = entry["object"]
                    self._put(bucket, key, content_type, body)
                continue
            environ = moto_wsgi.with_body({**entry["environ"], moto_wsgi.PRESERVED: entry["preserved"]}, body)
            with replay.seeded(entry["seed"]):
                try:
                    moto_wsgi.respond(self._app, environ)
                except Exception:  # what one call made is missing: the others are worth having
                    log.exception("replaying %s", entry["environ"].get("REQUEST_URI"))
        return count

    def _call(self, environ: dict[str, Any], body: bytes) -> web.Response:
        if not replay.changes(environ, body):
            return moto_wsgi.respond(self._app, environ)
        entry = {"environ": replay.kept(environ), "preserved": environ[moto_wsgi.PRESERVED]}
        seed = secrets.randbits(63)
        with replay.seeded(seed):
            response = moto_wsgi.respond(self._app, environ)
        if response.status < 400:
            self._journal.append({**entry, "seed": seed}, body)
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
            multi_model=containers[0].get("Mode") == "MultiModel",
            hosting=next((tag["Value"] for tag in model.tags or () if tag["Key"] == HOSTING_TAG), ""),
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

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """The keys of a bucket that begin with a prefix, sorted; none where there is no bucket."""
        store = get_backend("s3")[ACCOUNT]["aws"]
        found = list(store.buckets[bucket].keys) if bucket in store.buckets else []  # others may be putting some
        return sorted(key for key in found if key.startswith(prefix))

    def write_object(self, bucket: str, key: str, value: bytes, content_type: str) -> None:
        """Put an object into the embedded S3; raises moto's own error when the bucket does not exist."""
        self._put(bucket, key, content_type, value)
        self._journal.append({"object": [bucket, key, content_type]}, value)

    def _put(self, bucket: str, key: str, content_type: str, value: bytes) -> None:
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
                own = [policy for policy in backend.policies.values() if policy.resource_id == resource]
                policies = tuple(
                    (policy.policy_name, policy.target_tracking_scaling_policy_configuration)
                    for policy in own
                    if policy.target_tracking_scaling_policy_configuration
                )
                steps = tuple(
                    (policy.policy_arn, policy.step_scaling_policy_configuration)
                    for policy in own
                    if policy.step_scaling_policy_configuration
                )
                schedules = tuple(one for one in backend.scheduled_actions if one.resource_id == resource)
                low, high = target.min_capacity or 0, target.max_capacity or 0
                made.append(Scalable(region, resource, low, high, policies, steps, schedules, target))
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


def seconds(moment: datetime) -> float:
    """A moment as JSON protocols carry it: seconds since 1970, to the millisecond."""
    return round(moment.timestamp(), 3)
