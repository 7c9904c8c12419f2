"""Carrying a training job out: its hosts as processes or containers, its files, its log, its end."""

import asyncio
import fnmatch
import hashlib
import logging
import re
import time
import uuid
from pathlib import Path

from infra.cloud import docker, training_files
from infra.cloud.errors import InstanceError
from infra.cloud.groups import Groups
from infra.cloud.instances import tail
from infra.cloud.moto_app import Moto
from infra.cloud.options import Options
from infra.cloud.series import Key
from infra.cloud.training_host import Host, HostSpec, start
from infra.cloud.training_job import Job, measured
from infra.cloud.watch import Watch

NAMESPACE = GROUP = "/aws/sagemaker/TrainingJobs"
GRACE_S = 120.0  # SIGKILL comes 120 s after SIGTERM (SageMaker developer guide, training containers)
_AGAIN_S = 30.0  # declared seconds until spot capacity is there again
_LOOK_S = 0.2
_SHUTDOWN_GRACE_S = 5.0

log = logging.getLogger(__name__)


class _OverError(Exception):
    """The job ends before its training has: the secondary status, and the job's."""

    def __init__(self, secondary: str) -> None:
        super().__init__(secondary)
        self.secondary = secondary


class Works:
    """Runs jobs, each in a folder of its own in `home/training`."""

    def __init__(self, options: Options, moto: Moto, groups: Groups, watch: Watch) -> None:
        self._options = options
        self._moto = moto
        self._groups = groups
        self._watch = watch
        self._folder = options.home / "training"

    async def run(self, job: Job) -> None:
        """From Starting to the end, whatever it is."""
        folder = self._folder / hashlib.sha256(job.arn.encode()).hexdigest()[:16]
        bases = [folder / host for host in job.hosts]
        begun = time.monotonic()
        try:
            while not await self._attempt(job, folder, bases, begun):
                await self._wait_for_capacity(job, begun)
        except _OverError as over:
            try:
                job.artifact = await asyncio.to_thread(training_files.upload, self._moto, job, bases)
            except InstanceError as error:
                log.warning("%s: %s", job.name, error)
            job.become(over.secondary, status="Stopped")
        except InstanceError as error:
            job.fail(str(error))
        except Exception as error:
            log.exception("training %s", job.name)
            job.fail(f"InternalServerError: the embedded cloud failed: {error!r}")
        finally:
            await asyncio.to_thread(training_files.clear, folder)

    async def _attempt(self, job: Job, folder: Path, bases: list[Path], begun: float) -> bool:
        """Train once; False when the capacity was taken back."""
        image = await asyncio.to_thread(self._image, job)
        for base, host in zip(bases, job.hosts, strict=True):
            await asyncio.to_thread(training_files.lay_out, base, job, host)
        job.become("Downloading")
        for number, base in enumerate(bases):
            await asyncio.to_thread(training_files.download, self._moto, job, base, number)
            await asyncio.to_thread(training_files.restore, self._moto, job, base)
        _require_not_stopped(job)
        label = str(self._options.home)
        own = f"sagestage-{uuid.uuid4().hex[:12]}"  # other clouds on this engine may have a job of this name
        network = own if image is not None and len(bases) > 1 else None
        if network is not None:
            await asyncio.to_thread(docker.call, "network", "create", "--label", f"{docker.LABEL}={label}", network)
        specs = [
            HostSpec(
                name=host,
                base=base,
                log=folder / f"{host}.{job.interruptions}.log",
                command=("train",) if image is not None else self._options.train_command,
                environment=self._environment(job),
                image=image,
                network=network,
                label=label,
                container=f"{own}-{host}",
            )
            for host, base in zip(job.hosts, bases, strict=True)
        ]
        hosts: list[Host] = []
        job.become("Training")
        at_work = time.monotonic()
        try:
            for spec in specs:
                hosts.append(await start(spec, self._groups))  # noqa: PERF401 - those before a failure are stopped
            interrupted = await self._watch_over(job, hosts, begun)
        finally:
            await asyncio.gather(*(host.stop(_SHUTDOWN_GRACE_S) for host in hosts))
            job.billable_s += time.monotonic() - at_work
            if network is not None:
                await asyncio.to_thread(docker.call, "network", "rm", network)
        if interrupted:
            for base in bases:
                await asyncio.to_thread(training_files.clear, base)
            return False
        job.become("Uploading")
        job.artifact = await asyncio.to_thread(training_files.upload, self._moto, job, bases)
        job.become("Completed", status="Completed")
        return True

    async def _watch_over(self, job: Job, hosts: list[Host], begun: float) -> bool:
        """Follow hosts until they have ended; whether the capacity was taken back meanwhile.

        Raises:
            InstanceError: a host failed.
            _OverError: the job was stopped, or its time was up.
        """
        known: dict[str, tuple[int, int]] = {}
        ends = [asyncio.ensure_future(host.ended()) for host in hosts]
        signals = [asyncio.ensure_future(event.wait()) for event in (job.stopping, job.interrupted)]
        limit = self._watch.clock.real(job.request["StoppingCondition"].get("MaxRuntimeInSeconds", 86_400))
        try:
            while True:
                await asyncio.wait({*ends, *signals}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.to_thread(self._carry, job, hosts, known, last=False)
                over = time.monotonic() - begun > limit
                if job.stopping.is_set() or job.interrupted.is_set() or over:
                    await asyncio.gather(*(host.stop(GRACE_S) for host in hosts))
                    await asyncio.to_thread(self._carry, job, hosts, known, last=True)
                    if job.stopping.is_set():
                        raise _OverError("Stopped")
                    if over:
                        raise _OverError("MaxRuntimeExceeded")
                    return True
                bad = [
                    (host, end.result()) for host, end in zip(hosts, ends, strict=True) if end.done() and end.result()
                ]
                if bad:  # one that failed ends the job: SageMaker stops the others
                    await asyncio.gather(*(host.stop(_SHUTDOWN_GRACE_S) for host in hosts))
                    await asyncio.to_thread(self._carry, job, hosts, known, last=True)
                    raise InstanceError(_why(*bad[0]))
                if all(end.done() for end in ends):
                    await asyncio.to_thread(self._carry, job, hosts, known, last=True)
                    return False
        finally:
            for future in (*ends, *signals):
                future.cancel()

    def _carry(self, job: Job, hosts: list[Host], known: dict[str, tuple[int, int]], *, last: bool) -> None:
        """Logs into CloudWatch Logs, figures into CloudWatch, checkpoints into S3."""
        wanted = job.request["AlgorithmSpecification"].get("MetricDefinitions", ())
        definitions = [(one["Name"], re.compile(one["Regex"])) for one in wanted]
        for number, host in enumerate(hosts):
            lines = host.lines(last=last)
            moment = time.time()
            if lines:
                stream = f"{job.name}/{host.spec.name}-{round(job.created.timestamp())}"
                events = [(round(moment * 1000), line) for line in lines]
                self._moto.put_log_events(job.region, GROUP, stream, events)
            for line in lines if number == 0 else ():  # every host may tell the same
                for name, value in measured(line, definitions):
                    job.metrics[name] = (value, round(moment, 3))
                    if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - CloudWatch takes no NaN
                        key = Key(job.region, NAMESPACE, name, (("TrainingJobName", job.name),))
                        self._watch.store.put(key, moment, {value: 1.0})
        training_files.keep(self._moto, job, hosts[0].spec.base, known)

    async def _wait_for_capacity(self, job: Job, begun: float) -> None:
        job.interrupted.clear()
        job.interruptions += 1
        job.become("Interrupted")
        limit = self._watch.clock.real(job.request["StoppingCondition"]["MaxWaitTimeInSeconds"])
        again = self._watch.clock.real(_AGAIN_S)
        pause = min(again, max(0.0, limit - (time.monotonic() - begun)))
        try:
            async with asyncio.timeout(pause):
                await job.stopping.wait()
        except TimeoutError:
            if pause < again:
                raise _OverError("MaxWaitTimeExceeded") from None
            job.become("Starting")
            return
        raise _OverError("Stopped")

    def _image(self, job: Job) -> str | None:
        """The image to run as a container; None where it is sagestage's own and runs as a process.

        Raises:
            InstanceError: it needs Docker, and there is none.
        """
        ours = fnmatch.fnmatchcase(job.image, self._options.train_image)
        if ours and self._options.hosting == "process" and len(job.hosts) == 1:
            return None
        if reason := docker.why_not():
            what = f"{len(job.hosts)} hosts need" if ours else f"image {job.image} is not sagestage's: needs"
            raise InstanceError(f"{what} Docker, and {reason}")
        try:
            docker.have(job.image)
        except docker.DockerError as error:
            raise InstanceError(str(error)) from error
        return job.image

    def _environment(self, job: Job) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self._options.url,
            "AWS_ACCESS_KEY_ID": "sagestage",
            "AWS_SECRET_ACCESS_KEY": "sagestage",
            "AWS_REGION": job.region,
            "AWS_DEFAULT_REGION": job.region,
            **job.request.get("Environment", {}),
            "TRAINING_JOB_NAME": job.name,
            "TRAINING_JOB_ARN": job.arn,
        }


def _require_not_stopped(job: Job) -> None:
    if job.stopping.is_set():
        raise _OverError("Stopped")


def _why(host: Host, code: int) -> str:
    said = training_files.failure(host.spec.base) or tail(host.spec.log)
    shown = 128 - code if code < 0 else code  # as docker shows a signal
    return f"AlgorithmError: {said}, exit code: {shown}"
