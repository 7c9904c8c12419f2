"""The cloud's process: `python -m infra.cloud --home DIR [--port N]`. `infra.cloud.control.start` runs it detached."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from infra.cloud import docker, guard, lock, training_works
from infra.cloud.api import Api
from infra.cloud.autoscaler import MINUTE_S, Autoscaler
from infra.cloud.clock import Clock
from infra.cloud.control import LOCK, RECORD, CloudInfo
from infra.cloud.errors import CloudError
from infra.cloud.front import Front
from infra.cloud.groups import Groups
from infra.cloud.hosting import Hosting
from infra.cloud.instances import Launcher
from infra.cloud.journal import Journal
from infra.cloud.later import Later
from infra.cloud.logs import Logs
from infra.cloud.metrics import Metrics
from infra.cloud.monitoring import Monitoring
from infra.cloud.moto_app import ACCOUNT, Moto
from infra.cloud.moto_cloudwatch import Calls
from infra.cloud.options import (
    DEFAULT_MAX_INSTANCES,
    DEFAULT_PORT,
    DEFAULT_REGION,
    DEFAULT_SERVE_IMAGE,
    HOSTING,
    SERVE_COMMAND,
    TRAIN_COMMAND,
    Options,
    require_sensible,
)
from infra.cloud.processes import Processes
from infra.cloud.runtime import Runtime
from infra.cloud.serverless import Cooler
from infra.cloud.training import Training
from infra.cloud.transforming import Works
from infra.cloud.transforms import Transforms
from infra.cloud.usage import Usage
from infra.cloud.watch import Watch

_LOCK_TIMEOUT_S = 10.0  # a killed cloud's watchdog holds the lock while it ends the processes that were left
_BACKLOG = 1024
_LOOK_EVERY_S = 5.0  # declared seconds between two looks at the alarms
_QUICKEST_LOOK_S, _SLOWEST_LOOK_S = 0.05, 1.0
_LOGS_EVERY_S = 0.5
_RESTORE_S = 30.0  # that a start waits for endpoints of an earlier life
LIFE = "life"
_SHUTDOWN_S = 2.0  # for requests that are being answered

# moto's own botocore clients must not look for a user's.
_DUMMY_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "sagestage",
    "AWS_SECRET_ACCESS_KEY": "sagestage",
    "AWS_EC2_METADATA_DISABLED": "true",
}

log = logging.getLogger("infra.cloud")


def main(argv: list[str] | None = None) -> int:
    """Run a cloud until SIGTERM or SIGINT; the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    if arguments.ready_fd is not None:
        os.set_inheritable(arguments.ready_fd, False)  # noqa: FBT003 - instances must not hold the starter's pipe open
    try:
        _run(arguments)
    except CloudError as error:
        _tell(arguments.ready_fd, {"error": str(error)})
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.cloud", description="The embedded AWS, in the foreground.")
    parser.add_argument("--home", type=Path, required=True, help="folder for its files")
    parser.add_argument("--port", type=int, help=f"port (default: {DEFAULT_PORT}, or a free one when it is taken)")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument("--region", default=DEFAULT_REGION, help="region of unsigned calls (default: %(default)s)")
    parser.add_argument("--serve-image", default=DEFAULT_SERVE_IMAGE, help="images that are run (default: %(default)s)")
    parser.add_argument(
        "--max-instances", type=int, default=DEFAULT_MAX_INSTANCES, help="most processes per variant (%(default)s)"
    )
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="waits and alarm periods pass so many times faster (%(default)s)"
    )
    parser.add_argument("--seed", type=int, help="make variant choice and capture sampling repeatable")
    parser.add_argument("--serve-command", type=_command, default=SERVE_COMMAND, help="JSON list: runs an instance")
    parser.add_argument("--fresh", action="store_true", help="forget what a cloud that was killed here left")
    parser.add_argument("--train-command", type=_command, default=TRAIN_COMMAND, help="JSON list: runs a training job")
    parser.add_argument(
        "--hosting", choices=HOSTING, default=HOSTING[0], help="how sagestage's images run (default: %(default)s)"
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    return parser


def _command(text: str) -> tuple[str, ...]:
    words = json.loads(text)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise argparse.ArgumentTypeError(f"not a JSON list of words: {text}")
    return tuple(words)


def _run(arguments: argparse.Namespace) -> None:
    guard.require_loopback(arguments.host)
    require_sensible(arguments.port, arguments.max_instances, arguments.time_scale)
    guard.stay_on_this_machine()
    home = arguments.home.resolve()
    lock_fd = lock.acquire(home / LOCK, _LOCK_TIMEOUT_S)
    if lock_fd is None:
        raise CloudError(f"a cloud already runs in {home}: stop it first")
    (home / RECORD).unlink(missing_ok=True)  # a killed cloud's: its process id may be another's by now
    try:
        journal = Journal(home, fresh=arguments.fresh)
    except OSError as error:
        raise CloudError(f"cannot keep a journal in {home}: {error.strerror}") from error
    listener = _listen(arguments.host, arguments.port, (journal.load(LIFE) or {}).get("port"))
    options = Options(
        home=home,
        host=arguments.host,
        port=listener.getsockname()[1],
        region=arguments.region,
        serve_image=arguments.serve_image,
        serve_command=arguments.serve_command,
        train_command=arguments.train_command,
        hosting=arguments.hosting,
        max_instances=arguments.max_instances,
        time_scale=arguments.time_scale,
        seed=arguments.seed,
    )
    docker.sweep(str(home))  # containers of a life that was killed
    shutil.rmtree(home / "training", ignore_errors=True)  # its training jobs are gone
    os.environ |= _DUMMY_CREDENTIALS
    groups = Groups(keep=(lock_fd,))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(options, listener, groups, journal, arguments.ready_fd))
    finally:
        (home / RECORD).unlink(missing_ok=True)
        groups.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed: about half as many requests a second again; else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _listen(host: str, port: int | None, earlier: int | None) -> socket.socket:
    """A listening socket: on the port that is asked for, or else on that of an earlier life, 4577 or any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    candidates = [earlier or DEFAULT_PORT, DEFAULT_PORT, 0] if port is None else [port]
    error: OSError | None = None
    for candidate in candidates:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(_BACKLOG)
        except OSError as failure:
            listener.close()
            error = failure
        else:
            return listener
    why = error.strerror if error else ""
    raise CloudError(f"cannot listen on {host} port {candidates[0]} ({why}): choose another with --port") from error


async def _serve(
    options: Options, listener: socket.socket, groups: Groups, journal: Journal, ready_fd: int | None
) -> None:
    moto = Moto(journal)
    watch = Watch(Clock(options.time_scale), ACCOUNT, moto.notify)
    Calls(watch, ACCOUNT).install()
    metrics = Metrics(watch.store)
    launcher = Launcher(options, groups)
    hosting = Hosting(options, moto, launcher, watch, journal, metrics)
    transforms = Transforms(Works(options, moto, launcher), moto, journal)
    life = {"id": str(uuid.uuid4()), **(journal.load(LIFE) or {}), "port": options.port}
    if replayed := moto.replay():
        log.info("%d calls of an earlier life made again", replayed)
    watch.restore(journal)
    transforms.restore()
    journal.save(LIFE, life)
    info = CloudInfo(
        id=life["id"],
        pid=os.getpid(),
        host=options.host,
        port=options.port,
        url=options.url,
        region=options.region,
        account=ACCOUNT,
        home=options.home,
        serve_image=options.serve_image,
        max_instances=options.max_instances,
        time_scale=options.time_scale,
        hosting=options.hosting,
    )
    record = info.model_dump(mode="json")
    later = Later(moto, metrics, watch.clock, hosting.capacity)
    training = Training(training_works.Works(options, moto, groups, watch), journal)
    api = Api(hosting, moto, transforms, training)
    front = Front(
        api,
        Runtime(hosting, metrics, later, options.time_scale),
        moto,
        options.region,
        lambda: {**record, **hosting.status()},
        training.interrupt,
    )
    monitors = asyncio.create_task(Monitoring(api, Processes(options, groups, moto), hosting, watch, journal).run())
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # Bodies pass as they came: a compressed object must not be stored unpacked.
    runner = web.ServerRunner(
        web.Server(front.handle, access_log=None, auto_decompress=False), shutdown_timeout=_SHUTDOWN_S
    )
    await runner.setup()
    site = web.SockSite(runner, listener)
    await site.start()
    restored = asyncio.create_task(hosting.restore())
    watcher = asyncio.create_task(_keep_watch(metrics, watch))
    scaler = asyncio.create_task(
        _every_minute(
            watch.clock,
            Usage(hosting, watch.store).measure,
            lambda: later.measure(hosting.asynchronous()),
            Autoscaler(hosting, watch, moto).tick,
            Cooler(hosting.warmths).tick,
        )
    )
    follower = asyncio.create_task(_follow_logs(hosting, transforms, Logs(moto)))
    try:
        with contextlib.suppress(TimeoutError):  # what takes longer comes in service later
            async with asyncio.timeout(_RESTORE_S):
                await asyncio.shield(restored)
        _write_atomically(options.home / RECORD, json.dumps(record, indent=2))
        _tell(ready_fd, {"cloud": record})
        log.info("listening on %s", options.url)
        await stopping.wait()
    finally:
        log.info("stopping")
        for task in (restored, watcher, follower, scaler, monitors):
            task.cancel()
        await asyncio.gather(monitors, return_exceptions=True)
        await site.stop()
        await transforms.close()
        await training.close()
        await hosting.close()
        await runner.cleanup()
        moto.close()
        journal.close()


async def _keep_watch(metrics: Metrics, watch: Watch) -> None:
    """Put what was counted into the store, and evaluate the alarms of which a period has ended."""
    pause = min(max(watch.clock.real(_LOOK_EVERY_S), _QUICKEST_LOOK_S), _SLOWEST_LOOK_S)
    while True:
        await asyncio.sleep(pause)
        try:
            metrics.flush()
            await asyncio.to_thread(watch.tick, time.time())
        except Exception:  # one alarm that cannot be evaluated must not end the watch over the others
            log.exception("evaluating alarms")


async def _every_minute(clock: Clock, *jobs: Callable[[], None]) -> None:
    """Measure what instances use, and let scaling policies have their say, once a declared minute."""
    while True:
        await clock.sleep(MINUTE_S)
        for job in jobs:
            try:
                job()
            except Exception:  # one job that fails must not end the others
                log.exception("a job of every minute")


async def _follow_logs(hosting: Hosting, transforms: Transforms, logs: Logs) -> None:
    """Bring what instances print into CloudWatch Logs."""
    while True:
        await asyncio.sleep(_LOGS_EVERY_S)
        for region, group, folder in [*hosting.log_folders(), *transforms.log_folders()]:
            logs.watch(region, group, folder)
        try:
            await asyncio.to_thread(logs.pass_on)
        except Exception:  # logs that cannot be stored must not end the following of others
            log.exception("following logs")


def _write_atomically(path: Path, text: str) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.chmod(0o600)
    draft.replace(path)


def _tell(ready_fd: int | None, message: dict[str, object]) -> None:
    """Say on the pipe of the one who started this process how it went; they may be gone."""
    if ready_fd is not None:
        with contextlib.suppress(OSError), os.fdopen(ready_fd, "w") as pipe:
            pipe.write(json.dumps(message))


if __name__ == "__main__":
    sys.exit(main())
