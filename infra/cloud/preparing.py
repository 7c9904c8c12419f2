"""From an endpoint configuration to a fleet that can be started: containers, unpacked models, capture."""

import asyncio
import fnmatch
import functools
import random
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.cloud import artifacts, docker
from infra.cloud.capture import Capture, CaptureConfig
from infra.cloud.clock import Clock
from infra.cloud.errors import InstanceError
from infra.cloud.fleet import VariantFleet
from infra.cloud.instances import InstanceSpec, Launcher
from infra.cloud.metrics import Metrics
from infra.cloud.moto_app import Container, Moto
from infra.cloud.multimodel import Models
from infra.cloud.options import Options
from infra.cloud.records import Config, Endpoint, Fleet, Variant
from infra.cloud.serverless import Warmth

# What the API does not support here: the endpoint fails and says so, rather than behave otherwise than declared.
_UNSUPPORTED_CONFIG = {
    "ExplainerConfig": "explainers",
}
_DEFAULT_STARTUP_S = 300.0  # nothing documented; a process on this machine that needs longer is stuck


class Workshop:
    """Makes fleets.

    Args:
        options: of the cloud.
        moto: has the models and their archives.
        launcher: starts instances.
        clock: for what goes cold.
        metrics: where multi-model variants are counted.
    """

    def __init__(self, options: Options, moto: Moto, launcher: Launcher, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._options = options
        self._moto = moto
        self._launcher = launcher
        self._folder = options.home / "endpoints"

    def home(self, endpoint: Endpoint) -> Path:
        """The folder of an endpoint's files."""
        region = "" if endpoint.region == self._options.region else f"{endpoint.region}."
        return self._folder / f"{region}{endpoint.name}"

    async def prepared(
        self,
        endpoint: Endpoint,
        config: Config,
        keep: Mapping[str, Any],
        known: Mapping[str, Container] | None = None,
    ) -> Fleet:
        """A fleet with its models unpacked and no instance yet.

        Args:
            endpoint: whose it is.
            config: what it shall run.
            keep: per variant name what is retained of `InitialVariantWeight` and `InitialInstanceCount`; the capture
                configuration at the key "".
            known: containers by variant, of an earlier life: their models may have been deleted since.

        Raises:
            InstanceError: it cannot be had; nothing is left of it.
        """
        for member, what in _UNSUPPORTED_CONFIG.items():
            if config.request.get(member):
                raise InstanceError(f"{what} ({member}) is not supported by the embedded cloud: leave it out locally")
        folder = self.home(endpoint) / f"fleet-{uuid.uuid4().hex[:8]}"
        variants: dict[str, Variant] = {}
        shadows: dict[str, Variant] = {}
        try:
            for declared in config.request["ProductionVariants"]:
                kept = keep.get(declared["VariantName"], {})
                variant = await self._prepare(endpoint, folder, {**declared, **kept}, known or {})
                variants[variant.name] = variant
            for declared in config.request.get("ShadowProductionVariants", ()):
                shadow = await self._prepare(endpoint, folder, declared, known or {})
                shadows[shadow.name] = shadow
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        declared_capture = keep.get("", config.request.get("DataCaptureConfig"))
        capture = CaptureConfig.parse(declared_capture)
        seed = random.Random(f"{self._options.seed}/{endpoint.name}" if self._options.seed is not None else None)  # noqa: S311 - a sample of requests is no secret
        writer = Capture(capture, endpoint.name, self._moto.write_object, seed) if capture else None
        return Fleet(config, variants, folder, declared_capture, writer, shadows=shadows)

    async def _prepare(
        self, endpoint: Endpoint, folder: Path, declared: Mapping[str, Any], known: Mapping[str, Container]
    ) -> Variant:
        """The variant with its model unpacked, no instance started."""
        name = declared["VariantName"]
        if "ModelName" not in declared:
            raise InstanceError(f"variant {name}: inference-component variants are not supported locally")
        container = known.get(name) or self._moto.container(endpoint.region, declared["ModelName"])
        image = await asyncio.to_thread(image_of, container, self._options)
        base_dir = folder / name
        archive = None if container.multi_model else container.artifact
        await asyncio.to_thread(artifacts.unpack, self._moto, archive, base_dir)
        timeout = float(declared.get("ContainerStartupHealthCheckTimeoutInSeconds", _DEFAULT_STARTUP_S))
        spec = InstanceSpec(name, base_dir, _environment(container), self.home(endpoint) / "logs", timeout, image)
        make_spec = functools.partial(_numbered, spec, folder.name)
        fleet = VariantFleet(self._launcher, make_spec, self._options.max_instances)
        serverless = declared.get("ServerlessConfig")
        provisioned = 0 if serverless is None else serverless.get("ProvisionedConcurrency", 0)
        return Variant(
            name=name,
            weight=declared.get("InitialVariantWeight", 1.0),
            count=declared.get("InitialInstanceCount", 1),
            container=container,
            fleet=fleet,
            serverless=serverless,
            warmth=None if serverless is None else Warmth(fleet, self._clock, provisioned),
            models=self._models(container, base_dir),
        )

    def _models(self, container: Container, base_dir: Path) -> Models | None:
        if not container.multi_model or container.artifact is None:
            return None

        def count(endpoint: Endpoint, variant: Variant, name: str, value: float) -> None:
            self._metrics.put(endpoint.region, endpoint.name, variant.name, name, value)

        return Models(self._moto, container.artifact, base_dir / "models", count)


def _environment(container: Container) -> Mapping[str, str]:
    more = {"SAGEMAKER_MULTI_MODEL": "true"} if container.multi_model else {}
    return {**container.environment, **more}


def image_of(container: Container, options: Options) -> str | None:
    """The image that is run as a container; None where it is sagestage's own and runs as a process.

    Raises:
        InstanceError: it needs Docker, and there is none, or Docker does not get the image.
    """
    ours = fnmatch.fnmatchcase(container.image, options.serve_image)
    if ours and (container.hosting or options.hosting) != "container":
        return None
    if not container.image:
        raise InstanceError("the model has no image: create it again with one")
    if reason := docker.why_not():
        what = "is to run as a container" if ours else "is not sagestage's"
        raise InstanceError(f"image {container.image} {what}: needs Docker, and {reason}")
    try:
        docker.have(container.image)
    except docker.DockerError as error:
        raise InstanceError(str(error)) from error
    return container.image


def _numbered(spec: InstanceSpec, fleet: str, number: int) -> InstanceSpec:
    """The spec of one instance: `spec.log` is the folder of the logs."""
    return replace(spec, log=spec.log / f"{spec.variant}-{number}.{fleet}.log")
