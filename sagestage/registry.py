"""`sagestage images push`: an image to the stack's registry, and its digest into the stack's configuration."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.cloud import docker
from sagestage import stackfile
from sagestage.errors import SagestageError

KEYS = {"inference": "image", "training": "trainingImage"}
"""The stack's configuration key of each role's image."""
PUSH_TIMEOUT_S = 3_600.0
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(.+)")
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")
ARCHITECTURE = "amd64"
"""Of SageMaker's instances, less Graviton's (ml.c7g, ml.m6g, …)."""


@dataclass(frozen=True)
class Pushed:
    """What a push did: the image by digest, and the file that names it now."""

    image: str
    cuda: str
    file: Path
    changed: bool


def repository(config: dict[str, Any], project: str, role: str, given: str) -> str:
    """Where a role's image goes: what is given, or what the stack's configuration names, without tag and digest.

    Raises:
        SagestageError: neither names one.
    """
    if given:
        return given
    key = f"{project}:{KEYS[role]}"
    named = config.get(key)
    if not isinstance(named, str) or "/" not in named:
        raise SagestageError(
            f"the stack has no {key}: give --repository <account>.dkr.ecr.<region>.amazonaws.com/<name>"
        )
    name = named.partition("@")[0]
    head, _, last = name.rpartition("/")
    return f"{head}/{last.partition(':')[0]}"


def push(root: Path, stack: str, role: str, *, tag: str, given: str = "", architecture: str = ARCHITECTURE) -> Pushed:
    """Push an image, and record what the registry calls it.

    Raises:
        DockerError: the registry refuses, or cannot be reached.
        SagestageError: no such stack or image, or an image of another architecture than the machines'.
    """
    config = stackfile.read(root, stack)
    project = stackfile.project_name(root)
    target = repository(config, project, role, given)
    found = json.loads(docker.call("image", "inspect", "--format", "{{json .}}", tag, what=tag))
    if found["Architecture"] != architecture:
        raise SagestageError(
            f"{tag} is for {found['Architecture']}, and the machines are {architecture}:"
            f" sagestage images build --platform linux/{architecture} (--architecture arm64 for Graviton's)"
        )
    cuda = (found["Config"].get("Labels") or {}).get("sagestage.cuda", "none")
    digest = _push(tag, target, str(found["Id"]))
    image = f"{target}@{digest}"
    file = stackfile.path_of(root, stack)
    values = {f"{project}:{KEYS[role]}": image}
    if role == "inference":
        values[f"{project}:cuda"] = cuda
    return Pushed(image, cuda, file, record(file, values))


def _push(tag: str, target: str, identity: str) -> str:
    remote = f"{target}:{identity.removeprefix('sha256:')[:12]}"
    with tempfile.TemporaryDirectory(prefix="sagestage-docker-") as folder:
        if ecr := _ECR.fullmatch(target):
            _login(*ecr.groups(), host=target.partition("/")[0], folder=folder)
            env = {"DOCKER_CONFIG": folder}  # the token is never left in the user's own
        else:
            env = {}
        docker.call("tag", tag, remote)
        try:
            said = docker.call("push", remote, what=target, timeout_s=PUSH_TIMEOUT_S, env=env)
        finally:
            docker.call("rmi", "--no-prune", remote)
    digest = _DIGEST.search(said)
    if digest is None:
        raise SagestageError(f"docker push {remote} printed no digest: {said.strip()[-200:]}")
    return digest[1]


def _login(account: str, region: str, name: str, *, host: str, folder: str) -> None:
    """Ask ECR for a password, with the credentials that boto3 finds; see that the repository exists.

    Raises:
        SagestageError: there is no such repository, or ECR refuses.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        ecr = boto3.client("ecr", region_name=region)
        ecr.describe_repositories(registryId=account, repositoryNames=[name])
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "RepositoryNotFoundException":
            raise SagestageError(
                f"there is no repository {name} in {account}, {region}: infra.Repository makes one"
            ) from None
        raise SagestageError(f"ECR of {account} in {region}: {error}") from None
    except BotoCoreError as error:
        raise SagestageError(f"ECR of {account} in {region}: {error} (aws sso login, or AWS_PROFILE)") from None
    user, _, password = base64.b64decode(token).decode().partition(":")
    docker.call(
        "login", "--username", user, "--password-stdin", host, what=host, given=password, env={"DOCKER_CONFIG": folder}
    )


def record(file: Path, values: dict[str, str]) -> bool:
    """Set keys in a stack's file, line by line: comments and order stay. Whether something changed.

    Raises:
        SagestageError: the file has no `config:` to write them under.
    """
    before = file.read_text()
    lines = before.splitlines()
    if "config:" not in [line.rstrip() for line in lines]:
        raise SagestageError(f"{file} has no line 'config:' to write {', '.join(values)} under")
    for key, value in values.items():
        line = (
            f'  {key}: "{value}"' if value[:1].isdigit() and value.replace(".", "").isdigit() else f"  {key}: {value}"
        )
        at = [number for number, old in enumerate(lines) if re.match(rf"\s+{re.escape(key)}:(\s|$)", old)]
        if at:
            lines[at[0]] = line
        else:
            lines.insert(_end_of_own(lines, key.partition(":")[0]), line)
    text = "\n".join(lines) + "\n"
    if text == before:
        return False
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)
    return True


def _end_of_own(lines: list[str], project: str) -> int:
    """After the last key of the project's own, or right below `config:`."""
    own = [number for number, line in enumerate(lines) if line.startswith(f"  {project}:")]
    return (own[-1] if own else [line.rstrip() for line in lines].index("config:")) + 1
