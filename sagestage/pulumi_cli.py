"""`sagestage pulumi -- …`: the real Pulumi CLI on this project, against the embedded AWS and nothing else.

The CLI runs as a child process in an environment of its own: our stand-in for the AWS provider first on its PATH, dummy
keys and no AWS profile, a state backend, a Pulumi home and a passphrase under `.sagestage/`. Whatever account, token or
backend the user has configured is neither read nor written.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from sagestage import stackfile
from sagestage.errors import SagestageError
from sagestage.project import Project

# What needs no stack, and what calls the cloud; everything else is given a stack and may find the cloud stopped.
STACKLESS = frozenset({"about", "completion", "gen-completion", "help", "plugin", "schema", "version", "whoami"})
DEPLOYING = frozenset({"destroy", "down", "import", "preview", "pre", "refresh", "rf", "up", "update", "watch"})
OWN_BACKEND = frozenset({"login", "logout"})
ELSEWHERE = ("-C", "--cwd")


def run(root: Path, arguments: Sequence[str], *, cloud_url: str | None = None, embedded: bool = False) -> int:
    """Run `pulumi` with these arguments in the project's folder; the answer is its exit code.

    The stack is the one that `--stack` names, else `local`; it is made where it does not exist yet. Ctrl-C and a
    request to terminate reach the CLI, which then finishes the step under way.

    Args:
        root: the folder with Pulumi.yaml.
        arguments: what follows `pulumi` on the command line.
        cloud_url: the address that the stack must use; None asks for the project's running cloud.
        embedded: a stack for AWS is rehearsed here, with a stack file of our own (see `shadow`).

    Raises:
        SagestageError: there is no CLI, the stack has no file, the cloud is not running, or the stack's endpoints lead
            elsewhere.
    """
    executable = shutil.which("pulumi")
    if executable is None:
        raise SagestageError(
            "no `pulumi` on the PATH: install the Pulumi CLI (https://www.pulumi.com/docs/install/), or use "
            "`sagestage up`, which needs none"
        )
    command = next((each for each in arguments if not each.startswith("-")), "help")
    if command in OWN_BACKEND:
        raise SagestageError(f"pulumi {command}: this CLI keeps its state in .sagestage/pulumi and has no account")
    if any(each in ELSEWHERE or each.startswith("--cwd=") for each in arguments):
        raise SagestageError("pulumi --cwd: `sagestage pulumi` runs in the project's folder only")
    stack = stack_of(arguments)
    environment = environment_for(root, stack, os.environ)
    folder = root
    if command not in STACKLESS and not _helping(arguments):
        config = stackfile.read(root, stack)
        if embedded and not stackfile.is_embedded(config):
            from sagestage import shadow

            folder = shadow.make(root, stack, config, cloud_url or _running(root))
            config = stackfile.read(folder, stack)
        _require_embedded(stack, config)
        if command in DEPLOYING:
            _require_own_cloud(root, stack, config, cloud_url)
        if command not in ("new", "stack") and not _exists(root, stack):
            made = _child([executable, "stack", "init", stack, "--non-interactive"], folder, environment, quiet=True)
            if made:
                raise SagestageError(f"pulumi stack init {stack} failed with exit code {made}: see above")
    return _child([executable, *arguments], folder, environment)


def stack_of(arguments: Sequence[str]) -> str:
    """The stack that the arguments name, without organization and project; `local` when they name none."""
    name = stackfile.LOCAL
    for index, each in enumerate(arguments):
        if each in ("-s", "--stack") and index + 1 < len(arguments):
            name = arguments[index + 1]
        elif each.startswith("--stack="):
            name = each.removeprefix("--stack=")
        elif each.startswith("-s") and not each.startswith("--") and len(each) > len("-s"):
            name = each.removeprefix("-s").removeprefix("=")
    return name.rsplit("/", 1)[-1]


def environment_for(root: Path, stack: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """The CLI's environment: the user's without anything of AWS's or Pulumi's, and ours.

    Makes what it names: the plugin's folder, the backend's folder and the passphrase (random, mode 0600).
    """
    from infra.engine.secrets import passphrase
    from infra.provider import install_plugin

    home = Project(root).home
    plugin = install_plugin(home / "plugin")
    backend = home / "pulumi"
    backend.mkdir(parents=True, exist_ok=True)
    passphrase({}, home)
    kept = {name: value for name, value in inherited.items() if not name.startswith(("AWS_", "PULUMI_"))}
    return kept | {
        "PATH": os.pathsep.join([str(plugin.parent), inherited.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": sys.prefix,
        "PULUMI_BACKEND_URL": backend.as_uri(),
        "PULUMI_HOME": str(backend / "home"),
        "PULUMI_STACK": stack,
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(home / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "AWS_ACCESS_KEY_ID": "sagestage",
        "AWS_SECRET_ACCESS_KEY": "sagestage",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _require_embedded(stack: str, config: Mapping[str, Any]) -> None:
    """Of a stack for real AWS not even the file may be written, with a salt of ours."""
    if not stackfile.is_embedded(config):
        raise SagestageError(
            f"stack {stack}: aws:endpoints must all be on this machine; `sagestage pulumi` deploys to the embedded AWS "
            "only: `sagestage pulumi --on embedded -- …` rehearses the stack here, plain `pulumi` deploys it to AWS"
        )


def _running(root: Path) -> str:
    """The address of the project's running cloud."""
    from infra.cloud import control

    info = control.status(Project(root).cloud)
    if info is None:
        raise SagestageError("the embedded AWS is not running: `sagestage cloud start` starts it")
    return info.url


def _require_own_cloud(root: Path, stack: str, config: Mapping[str, Any], cloud_url: str | None) -> None:
    cloud_url = cloud_url or _running(root)
    urls = {str(url).rstrip("/") for block in config["aws:endpoints"] for url in block.values()}
    if urls != {cloud_url.rstrip("/")}:
        raise SagestageError(
            f"stack {stack}: aws:endpoints lead to {', '.join(sorted(urls))}, and the running cloud is {cloud_url}: "
            f"`sagestage preview --stack {stack}` brings the stack's file up to date"
        )


def _exists(root: Path, stack: str) -> bool:
    stacks = Project(root).home / "pulumi" / ".pulumi" / "stacks" / stackfile.project_name(root)
    return any((stacks / f"{stack}{suffix}").exists() for suffix in (".json", ".json.gz"))


def _helping(arguments: Sequence[str]) -> bool:
    return any(each in ("-h", "--help") for each in arguments)


def _child(command: Sequence[str], root: Path, environment: Mapping[str, str], *, quiet: bool = False) -> int:
    """Run the command to its end, whatever signals arrive; a death by signal N is exit code 128 + N."""
    child: subprocess.Popen[bytes] | None = None
    at_terminal = sys.stdin is not None and sys.stdin.isatty()

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and at_terminal:
            return  # the terminal has sent Ctrl-C to the child as well; a second one would make it drop everything
        if child is not None and child.poll() is None:
            child.send_signal(number)

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in watched}
    try:
        output = subprocess.DEVNULL if quiet else None
        child = subprocess.Popen(command, cwd=root, env=dict(environment), stdout=output)  # noqa: S603 - the user's own CLI
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
