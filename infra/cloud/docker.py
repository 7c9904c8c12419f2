"""The Docker engine, through its own command line: where it is, and what its refusals mean.

`explain` is pure: what docker wrote, in; one line with the remedy, out. Everything that runs docker goes through here.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.cloud.errors import CloudError

OWN_ENGINE = Path("/run/sagestage-engine/docker.sock")
"""The socket of the engine that containers/engine.sh starts."""
LABEL = "sagestage.cloud"
"""Of a container: the home of the cloud that runs it."""
ENGINE = "containers/engine.sh start"
_TIMEOUT_S = 60.0
PULL_TIMEOUT_S = 3_600.0
_NOISE = re.compile(r"DEPRECATED|BuildKit is currently|environment-variable|^See '|^Run '|^$|^Step \d|^ ---> ")
_PULL = (
    "pull access denied", "no such host", "manifest unknown", "manifest for", "server misbehaving", "i/o timeout",
    "toomanyrequests", "failed to resolve source metadata", "tls handshake timeout", "network is unreachable",
)  # fmt: skip
_DENIED = ("denied", "unauthorized", "no basic auth credentials", "authentication required", "forbidden")
_UNREACHABLE = ("connection refused", "no such host", "i/o timeout", "server gave http response", "no route to host")
_REGISTRY = ("push", "login")
# The command's first word (none: any), what docker says in lower case, and what that means; the first that fits counts.
_RULES: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        (),
        ("permission denied while trying to connect", "dial unix /var/run/docker.sock: connect: permission denied"),
        (
            "no permission to use the Docker engine at {address}: add yourself to the group docker"
            " (sudo usermod -aG docker $USER, then log in again), or run this as root"
        ),
    ),
    (
        (),
        ("cannot connect to the docker daemon", "error during connect", "failed to connect to the docker api"),
        "no Docker engine answers at {address}: start Docker, or run " + ENGINE + " as root on Debian",
    ),
    (
        (),
        ("no space left on device",),
        (
            "the disk of the Docker engine is full ({root}): docker system prune frees what is not used,"
            " or give the engine another folder"
        ),
    ),
    (
        (),
        ("exec format error", "does not match the detected host platform", "no matching manifest for"),
        "{image} is for another processor than this machine's: build it here, or with --platform ({last})",
    ),
    (
        _REGISTRY,
        _DENIED,
        "the registry refuses {image}: check that the repository exists and that you may push to it ({last})",
    ),
    (_REGISTRY, _UNREACHABLE, "the registry of {image} cannot be reached ({last})"),
    (
        (),
        _PULL,
        (
            "{image} cannot be pulled ({last}): check its name and the network; without a registry,"
            " containers/engine.sh base makes a base image from Debian's packages"
        ),
    ),
)


class DockerError(CloudError):
    """Docker cannot do what it was asked for; one line with the value and the remedy."""


def environment() -> dict[str, str]:
    """This process's environment, with DOCKER_HOST where only the project's own engine runs."""
    found = dict(os.environ)
    if "DOCKER_HOST" not in found and not Path("/var/run/docker.sock").exists() and OWN_ENGINE.exists():
        found["DOCKER_HOST"] = f"unix://{OWN_ENGINE}"
    return found


def call(
    *words: str, what: str = "", given: str | None = None, timeout_s: float = _TIMEOUT_S, env: Mapping[str, str] = {}
) -> str:
    """Run docker and return what it printed.

    Args:
        words: the command's words, without `docker`.
        what: the image or registry that it is about, for the error.
        given: standard input.
        timeout_s: seconds to wait.
        env: further variables.

    Raises:
        DockerError: docker is missing, refuses, or takes too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - docker itself, without a shell
            ["docker", *words],  # noqa: S607 - the user's own
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=environment() | dict(env),
        )
    except FileNotFoundError:
        raise DockerError(missing()) from None
    except PermissionError as error:
        raise DockerError(f"docker cannot be run: {error.strerror}: {error.filename}") from None
    except subprocess.TimeoutExpired:
        raise DockerError(f"docker {words[0]} did not end within {timeout_s:g} s: is the engine stuck?") from None
    if done.returncode:
        raise DockerError(explain(words, f"{done.stdout}\n{done.stderr}", what))
    return done.stdout


def why_not() -> str | None:
    """Why no container can run here, in one line; None where an engine answers."""
    try:
        call("version", "--format", "{{.Server.Version}}")
    except DockerError as error:
        return str(error)
    return None


def have(image: str) -> None:
    """See that an image is on the engine, by pulling it if need be.

    Raises:
        DockerError: it cannot be pulled.
    """
    if not is_here(image):
        call("pull", "--quiet", image, what=image, timeout_s=PULL_TIMEOUT_S)


def is_here(image: str) -> bool:
    """Whether an image is on the engine.

    Raises:
        DockerError: the engine does not answer.
    """
    try:
        call("image", "inspect", image)
    except DockerError as error:
        if "no such image" in str(error).lower():
            return False
        raise
    return True


def missing() -> str:
    """What to say where there is no docker."""
    return f"there is no docker on the PATH: install Docker, or run {ENGINE} as root on Debian"


def explain(words: Sequence[str], output: str, what: str = "") -> str:
    """One line for what docker wrote.

    Args:
        words: the command's words.
        output: standard output and error.
        what: the image or registry that it was about.
    """
    text, command = output.lower(), words[0] if words else ""
    last = _last(output)
    for commands, needles, meaning in _RULES:
        if (not commands or command in commands) and any(needle in text for needle in needles):
            root = _root() if "{root}" in meaning else ""
            return meaning.format(image=what or "the image", last=last, address=_address(), root=root)
    return f"docker {command}: {last}"


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if not _NOISE.search(line.strip())]
    told = [
        line for line in lines if re.search(r"error|fail|denied|unauthor|cannot|refused|unknown", line, re.IGNORECASE)
    ]
    return (told or lines or ["it gave no reason"])[-1][:300]


def _address() -> str:
    return environment().get("DOCKER_HOST", "unix:///var/run/docker.sock")


def _root() -> str:
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.DockerRootDir}}"],  # noqa: S607 - as above
            capture_output=True, text=True, check=False, timeout=10, env=environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "its root directory"
    return done.stdout.strip() or "its root directory"


async def create(name: str, label: str, *words: str) -> tuple[str, ...]:
    """Make a container that is removed at its end and found again by its label; the words that run it.

    It is made before anything can be told to stop: a `docker run` that is ended while the engine still makes its
    container would leave it.

    Args:
        name: the container's.
        label: whose it is.
        words: options of `docker create`, the image, and its arguments.

    Raises:
        DockerError: the engine refuses.
    """
    whole = ("create", "--rm", "--name", name, "--label", f"{LABEL}={label}", *words)
    made = asyncio.ensure_future(asyncio.to_thread(call, *whole))
    try:
        await asyncio.shield(made)
    except asyncio.CancelledError:
        await asyncio.wait({made})
        await asyncio.to_thread(remove, name)
        raise
    return ("docker", "start", "--attach", name)  # it passes signals on


def remove(name: str) -> None:
    """End a container by force and remove it; one that is gone already is no error.

    Raises:
        DockerError: the engine does not answer.
    """
    try:
        call("rm", "--force", "--volumes", name)
    except DockerError as error:
        if "no such container" not in str(error).lower() and "already in progress" not in str(error).lower():
            raise


def sweep(label: str) -> int:
    """Remove every container and network with a label's value; how many containers there were.

    A killed cloud may have left some. Without docker there is nothing to sweep.
    """
    try:
        left = call("ps", "--all", "--quiet", "--filter", f"label={LABEL}={label}").split()
        for name in left:
            remove(name)
        for network in call("network", "ls", "--quiet", "--filter", f"label={LABEL}={label}").split():
            call("network", "rm", network)
    except DockerError:
        return 0
    return len(left)
