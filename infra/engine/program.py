"""Runs a Pulumi program in this process, and leaves the process as it was."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import runpy
import sys
import traceback
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import settings, stack

from infra.engine.builtin import ORGANIZATION
from infra.engine.errors import EngineError, unsupported
from infra.engine.monitor import EngineLog, Monitor
from infra.engine.project import Config, Project


def run(
    project: Project, stack_name: str, config: Config, monitor: Monitor, log: EngineLog, *, preview: bool, parallel: int
) -> None:
    """Runs the program to its end; when this returns or raises, everything that it registered has been dealt with.

    Raises:
        EngineError: the program raised. The message has its last line and place; the cause is the exception.
    """
    contextvars.copy_context().run(_run, project, stack_name, config, monitor, log, preview=preview, parallel=parallel)


def _run(
    project: Project, stack_name: str, config: Config, monitor: Monitor, log: EngineLog, *, preview: bool, parallel: int
) -> None:
    settings.ROOT.set(None)
    settings.configure(
        settings.Settings(
            project=project.name,
            stack=stack_name,
            monitor=monitor,
            engine=log,
            parallel=parallel,
            dry_run=preview,
            organization=ORGANIZATION,
            root_directory=str(project.root),
        )
    )
    pulumi_config.set_all_config(dict(config.values), sorted(config.secret_keys))
    loop = asyncio.new_event_loop()
    pool = ThreadPoolExecutor(parallel, thread_name_prefix="resource")
    loop.set_default_executor(pool)
    failed = False

    def forgotten(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # After a failure every output that waited for it carries the same exception: it is told once, by us.
        if not failed:
            log.tell(str(context.get("exception") or context["message"]))

    def body() -> Awaitable[None]:
        runpy.run_path(str(project.program), run_name="__main__")
        return _settled()

    loop.set_exception_handler(forgotten)
    try:
        with _surroundings(project.program):
            loop.run_until_complete(stack.run_in_stack(body))
    except (Exception, SystemExit) as error:
        failed = True
        if isinstance(error, SystemExit) and not error.code:
            return
        raise _told(error, project) from error
    finally:
        pool.shutdown(wait=True)  # steps under way end, and are recorded
        _end(loop)


async def _settled() -> None:
    """Waits for the program's outputs, all at once; what they raise is raised here.

    The SDK waits for them as well, later: for whichever ends first, and then for the rest again, in a time that grows
    with their number squared. It finds none left.
    """
    while waiting := [task for task in list(settings.SETTINGS.outputs) if not task.done()]:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Closes the loop; what a failed program left waiting is cancelled, and its exceptions are taken note of."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _told(error: BaseException, project: Project) -> EngineError:
    text = str(error)
    if text.startswith("The Pulumi CLI does not support"):
        return unsupported(text.removeprefix("The Pulumi CLI does not support").partition(". Please")[0].strip())
    if isinstance(error, pulumi.RunError):
        return EngineError(text)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(project.root)]
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    place = f" ({Path(own[-1].filename).relative_to(project.root)}:{own[-1].lineno})" if own else ""
    return EngineError(f"the program raised {type(error).__name__}{place}: {text}; correct the program")


@contextlib.contextmanager
def _surroundings(program: Path) -> Iterator[None]:
    """The program's own working directory, arguments and import path; its modules are forgotten afterwards."""
    folder = program.parent
    before = set(sys.modules)
    cwd, argv, path = Path.cwd(), sys.argv, list(sys.path)
    os.chdir(folder)
    sys.argv = [str(program)]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.argv, sys.path[:] = argv, path
        ours = __name__.partition(".")[0]
        for name in set(sys.modules) - before:
            if name.partition(".")[0] != ours and _is_of(sys.modules[name], folder):
                del sys.modules[name]


def _is_of(module: object, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts
