"""Multi-model endpoints: a request names its archive below the model's prefix, and an instance loads it on demand.

The container contract is SageMaker's: POST /models {"model_name", "url"}, POST /models/NAME/invoke and DELETE
/models/NAME; 507 says that there is no room. Source: SageMaker developer guide, custom containers for multi-model
endpoints.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from infra.cloud import artifacts, calls
from infra.cloud.errors import AwsError, InstanceError
from infra.cloud.instances import Instance
from infra.cloud.moto_app import Moto
from infra.cloud.records import Endpoint, Variant

Count = Callable[[Endpoint, Variant, str, float], None]
_LOAD_S = 60.0
log = logging.getLogger(__name__)


class Models:
    """The models of one variant: unpacked once, loaded by each instance that is asked for them.

    Args:
        moto: whose S3 has the archives.
        prefix: `s3://bucket/prefix/`.
        folder: for what is unpacked.
        count: takes a metric: endpoint, variant, name and value.
    """

    def __init__(self, moto: Moto, prefix: str, folder: Path, count: Count) -> None:
        self._moto = moto
        self._prefix = prefix if prefix.endswith("/") else f"{prefix}/"
        self._folder = folder
        self._count = count
        self._lock = asyncio.Lock()

    async def path(self, endpoint: Endpoint, variant: Variant, instance: Instance, target: str) -> str:
        """Where an instance answers for a model that it has by now.

        Raises:
            AwsError: ValidationError where there is no such archive, ModelError where the container refuses it.
        """
        name = _name(target)
        begun = time.perf_counter()
        hit = name in instance.models
        if not hit:
            async with self._lock:
                if name not in instance.models:
                    await self._load(endpoint, variant, instance, target, name)
        instance.models.pop(name, None)
        instance.models[name] = None  # the one used last stands last
        self._count(endpoint, variant, "ModelCacheHit", float(hit))
        self._count(endpoint, variant, "ModelLoadingWaitTime", 0.0 if hit else (time.perf_counter() - begun) * 1e6)
        return f"/models/{name}/invoke"

    def forget(self, instance: Instance, target: str) -> None:
        """An instance has a model no more."""
        instance.models.pop(_name(target), None)

    async def _load(self, endpoint: Endpoint, variant: Variant, instance: Instance, target: str, name: str) -> None:
        place = self._folder / name / "model"
        begun = time.perf_counter()
        if not place.exists():
            await self._fetch(target, place)
            self._count(endpoint, variant, "ModelDownloadingTime", (time.perf_counter() - begun) * 1e6)
        begun = time.perf_counter()
        while True:
            status, said = await _call(instance, "POST", "/models", {"model_name": name, "url": str(place)})
            if status != 507 or not instance.models:
                break
            await self._unload(endpoint, variant, instance, next(iter(instance.models)))
        if status not in (200, 409):  # 409: it has the model
            raise calls.model_error(endpoint, status, said)
        self._count(endpoint, variant, "ModelLoadingTime", (time.perf_counter() - begun) * 1e6)
        instance.models[name] = None
        self._count(endpoint, variant, "LoadedModelCount", float(len(instance.models)))

    async def _unload(self, endpoint: Endpoint, variant: Variant, instance: Instance, name: str) -> None:
        begun = time.perf_counter()
        del instance.models[name]
        await _call(instance, "DELETE", f"/models/{name}", None)
        self._count(endpoint, variant, "ModelUnloadingTime", (time.perf_counter() - begun) * 1e6)

    async def _fetch(self, target: str, place: Path) -> None:
        address = f"{self._prefix}{target.lstrip('/')}"
        try:
            await asyncio.to_thread(artifacts.unpack, self._moto, address, place.parent)
        except InstanceError as error:
            where = urlsplit(address)
            raise AwsError(
                "ValidationError",
                f"Failed to download model data(bucket: {where.netloc}, key: {where.path.lstrip('/')}). Please ensure"
                f" that there is an object located at the URL and that it is a model.tar.gz: {error}",
            ) from error


def _name(target: str) -> str:
    """A model's name in the container: one path segment, whatever is in the archive's name."""
    return hashlib.sha256(target.encode()).hexdigest()


async def _call(instance: Instance, method: str, path: str, body: object) -> tuple[int, bytes]:
    """A status and what was said; 0 where nothing was."""
    timeout = aiohttp.ClientTimeout(total=_LOAD_S)
    try:
        async with instance.session.request(
            method, instance.url.with_path(path), json=body, timeout=timeout
        ) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return 0, repr(error).encode()
