"""Training by Ray Train, on a private Ray that lives as long as a run and listens on loopback alone.

Ray is imported and started in a thread of its own: it takes seconds, in which the data are read and fitted. That
thread lives as long as Ray does, because Ray has the kernel kill its processes when the thread that started them ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from inference.contract.network import Single
from training import cluster, processes
from training.errors import TrainingError
from training.hosts import Joined
from training.trainer import trainer

if TYPE_CHECKING:
    from training.loop import Epoch, Job

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least is 75 MiB; rows travel through memory-mapped files, so nothing large is put there."""
RESTARTS = 2
"""How often workers that were killed are started anew; they go on from the checkpoint."""
MAX_SOCKET_FOLDER = 40
"""Ray's sockets lie about 60 characters below its folder, and a Unix socket's path has at most 107."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # "no cluster": Ray then takes loopback for this machine's address
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the pace at which the controller looks at its workers; 2 s by default
    "RAY_get_check_signal_interval_milliseconds": "100",  # how soon SIGTERM ends a wait for Ray; 1 s by default
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
}
MARK = "SAGESTAGE_PRIVATE_RAY"
"""Stands in the environment of everything that a private Ray starts, with its folder."""
Handlers = dict[signal.Signals, Any]
OnEpoch = Callable[[int, "Epoch"], None]


class PrivateRay:
    """A Ray of one's own: started on entry (in the background), stopped on exit; serves several fits in a row.

    Or, where hosts have `joined`, the driver's end of theirs.

    Raises:
        TrainingError: there are fewer CPUs or GPUs than workers, Ray already runs in this process, or does not start.
    """

    def __init__(self, workers: int = 1, *, use_gpu: bool = False, joined: Joined | None = None) -> None:
        cpus = len(os.sched_getaffinity(0)) if joined is None else joined.cpus
        if workers > cpus:
            raise TrainingError(f"{workers} workers need {workers} CPUs and there are {cpus}: ask for fewer workers")
        self._gpus = _gpus() if use_gpu and joined is None else 0
        if use_gpu and joined is None:
            _enough_gpus(workers, self._gpus)
        self.workers = workers
        self.use_gpu = use_gpu
        self.joined = joined
        self.folder = Path()
        self._thread = threading.Thread(target=self._live, name="private-ray", daemon=True)
        self._failure: BaseException | None = None
        self._up = threading.Event()
        self._imported = threading.Event()
        self._over = threading.Event()
        self._owned = False
        self._environment: dict[str, str | None] = {}
        self._handlers: Handlers = {}

    def __enter__(self) -> Self:
        self.folder = _short_folder()
        settings = (SETTINGS if self.joined is None else self.joined.environment) | {MARK: str(self.folder)}
        self._environment = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        self._handlers = _handlers()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._over.set()
            self._thread.join()
            processes.await_end(f"{MARK}={self.folder}")  # Ray tells them to end, and does not wait for it
        finally:
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            shutil.rmtree(self.folder, ignore_errors=True)

    def ready(self) -> None:
        """Wait until Ray runs.

        Raises:
            TrainingError: it does not.
        """
        self._up.wait()
        _restore(self._handlers)
        if self._failure is not None:
            if isinstance(self._failure, TrainingError):
                raise self._failure
            raise TrainingError(f"Ray did not start: {_first_line(self._failure)}") from self._failure

    def imported(self) -> None:
        """Wait until torch is loaded, or will not be.

        Another thread that loads a library which looks for torch (SciPy does) must not meet it half loaded.
        """
        self._imported.wait()

    def _live(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Ray's own deprecations are not the user's concern
                self._init()
        except BaseException as error:  # noqa: BLE001  # raised again by ready(), in the caller's thread
            self._failure = error
        self._imported.set()
        self._up.set()
        self._over.wait()
        if self._owned:
            import ray  # noqa: PLC0415  # as in _init

            ray.shutdown()

    def _init(self) -> None:
        import logging  # noqa: PLC0415  # beside ray

        import ray  # noqa: PLC0415  # takes a second: in this thread, beside the reading of the data
        import ray.train.torch  # noqa: PLC0415  # takes two more

        self._imported.set()

        if ray.is_initialized():
            raise TrainingError("Ray already runs in this process: train in a fresh one, or shut that Ray down")
        if self.joined is not None:
            self._owned = True
            cluster.join(self.joined)
            if self.use_gpu:
                _enough_gpus(self.workers, int(ray.cluster_resources().get("GPU", 0)))  # type: ignore[no-untyped-call]
            return
        if self._over.is_set():
            return  # the data were no good, in the meantime
        self._owned = True
        ray.init(
            address="local",
            num_cpus=max(self.workers, 2),
            num_gpus=self._gpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(self.folder),
        )
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        if address != LOOPBACK:
            raise TrainingError(f"Ray would listen on {address}: train in a process that has not imported ray before")

    def fit(self, jobs: Sequence[Job], on_epoch: OnEpoch, *, folder: Path, restarts: int = RESTARTS) -> list[Trained]:
        """Train networks one after the other, in the workers of one TorchTrainer: starting them takes longest.

        `on_epoch` hears, in a thread of its own, the number of the job and each epoch, again after a restart; `folder`,
        which must not exist, holds what Ray keeps of the run.

        Raises:
            TrainingError: Ray did not start, or a worker failed; says why in one line.
        """
        self.ready()
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415  # as in _init

        folder.mkdir()
        shipped = {} if self.joined is None else cluster.ship({job.features for job in jobs})
        here = "" if self.joined is None else self.joined.here
        with _epochs(folder, on_epoch) if self.joined is None else cluster.heard(here, on_epoch) as pipe:
            made = trainer(
                cast("Callable[[dict[Any, Any]], None]", _worker),  # Ray hands out the answer; its types know none
                train_loop_config={
                    "jobs": [job.model_dump(mode="json") for job in jobs],
                    "pipe": str(pipe),
                    "shipped": shipped,
                    "home": here,
                },
                scaling_config=ScalingConfig(
                    num_workers=self.workers,
                    use_gpu=self.use_gpu,
                    placement_strategy="PACK" if self.joined is None else "SPREAD",
                ),
                run_config=RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent),
                    failure_config=FailureConfig(max_failures=restarts),
                ),
            )
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # as in _live
                    result: Any = made.fit()  # Any: the declared type is that of an older Ray Train
            except TrainingFailedError as error:
                raise TrainingError(_cause(error)) from error
            finally:
                _restore(self._handlers)
        if isinstance(result.return_value, str):
            raise TrainingError(result.return_value)
        if result.return_value is None:
            raise TrainingError("the workers ended without a model")
        return [Trained(*parts) for parts in result.return_value]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What training made: the best weights, how many epochs were run, which (from 1) was the best, and the seconds."""

    weights: Mapping[str, Single]
    epochs: int
    best: int
    seconds: float


def _worker(settings: dict[str, Any]) -> list[tuple[Mapping[str, Single], int, int, float]] | str:
    """What each Ray Train worker runs; the first one's answer counts. A text is why training cannot succeed."""
    import ray.train  # noqa: PLC0415  # the workers' imports
    import ray.train.torch  # noqa: PLC0415

    from training import loop  # noqa: PLC0415

    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    outcomes: list[tuple[Mapping[str, Single], int, int, float]] = []
    home = settings["home"]
    place = os.devnull if rank else settings["pipe"]  # the first worker tells for all
    with cluster.tell(place) if home and rank == 0 else Path(place).open("w", buffering=1) as pipe:
        for number, raw in enumerate(settings["jobs"]):
            begin = perf_counter()
            job = loop.Job.model_validate(raw)
            job = job.model_copy(update={"features": cluster.fetch(job.features, settings["shipped"], home)})

            def tell(epoch: Epoch, number: int = number) -> None:
                if rank == 0:
                    pipe.write(json.dumps([number, epoch.model_dump()]) + "\n")

            try:
                outcome = loop.train(
                    job,
                    tell,
                    device=str(ray.train.torch.get_device()),
                    rank=rank,
                    workers=workers,
                    wrap=ray.train.torch.prepare_model if workers > 1 else lambda module: module,
                )
            except TrainingError as error:  # all workers come to it alike, and would again: no reason to start anew
                return str(error)
            outcomes.append((outcome.weights, len(outcome.epochs), outcome.best, perf_counter() - begin))
    return outcomes


@contextmanager
def _epochs(folder: Path, on_epoch: OnEpoch) -> Iterator[Path]:
    """A named pipe whose lines, written by the first worker, become calls of `on_epoch` in a thread of this process."""
    from training.loop import Epoch  # noqa: PLC0415  # imports torch, like ray above

    pipe = folder / "epochs.pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)  # open at both ends: neither side waits for the other to appear
    end = "\n"

    def listen() -> None:
        with os.fdopen(os.dup(descriptor), encoding="ascii") as lines:
            for line in lines:
                if line == end:
                    return
                number, epoch = json.loads(line)
                on_epoch(number, Epoch.model_validate(epoch))

    thread = threading.Thread(target=listen, name="epochs", daemon=True)
    thread.start()
    try:
        yield pipe
    finally:
        os.write(descriptor, end.encode())
        thread.join()
        os.close(descriptor)
        pipe.unlink()


def _handlers() -> Handlers:
    """What this process does on the signals that Ray takes for itself (SIGTERM then aborts the process)."""
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def _restore(handlers: Handlers) -> None:
    """Only the main thread may; a caller in another has to live with Ray's handlers."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _short_folder() -> Path:
    base = tempfile.gettempdir()
    if len(base) > MAX_SOCKET_FOLDER - len("/ray-12345678"):
        base = "/tmp"  # noqa: S108  # mkdtemp makes a folder of its own in it, for its owner only
    return Path(tempfile.mkdtemp(prefix="ray-", dir=base))


def _gpus() -> int:
    import torch  # noqa: PLC0415  # takes two seconds

    return torch.cuda.device_count()


def _enough_gpus(workers: int, gpus: int) -> None:
    if workers > gpus:
        raise TrainingError(
            f"{workers} workers with use_gpu need {workers} GPUs and there are {gpus}: ask for fewer workers, or CPUs"
        )


def _cause(error: BaseException) -> str:
    """The innermost exception of a worker, in one line."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank in sorted(failures):
        inner: BaseException = failures[rank]
        while (cause := getattr(inner, "cause", None) or inner.__cause__) is not None:
            inner = cause
        text = _first_line(inner)
        return text if isinstance(inner, TrainingError) else f"worker {rank} failed: {text}"
    return f"training failed: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
