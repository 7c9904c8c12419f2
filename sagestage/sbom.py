"""`sagestage images sbom`: what is in an image, as CycloneDX JSON, asked of the image itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.cloud import docker
from sagestage.errors import SagestageError

# Runs in the image, with its own Python: distributions of the virtual environment and of the base.
_LOOK = """
import importlib.metadata as m, json, sys
seen = {}
for d in m.distributions():
    one = d.metadata
    seen.setdefault(one["Name"], [d.version, one.get("License-Expression") or "", one.get("License") or ""])
print(json.dumps(seen))
"""
_DEBIAN = "${Package}\t${Version}\t${Architecture}\n"
_MOST_LICENCE = 60
"""A longer text is a licence itself, not its name."""


@dataclass(frozen=True, order=True)
class Part:
    """A package: `kind` is pypi or deb."""

    kind: str
    name: str
    version: str
    licence: str = ""
    architecture: str = ""


def parts(image: str) -> list[Part]:
    """The packages of an image, sorted.

    Raises:
        DockerError: the image is not here, or cannot be run.
    """
    python = docker.call("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _LOOK, what=image)
    listing = (
        "--entrypoint",
        "sh",
        image,
        "-c",
        f"command -v dpkg-query >/dev/null && dpkg-query -W -f '{_DEBIAN}' || true",
    )
    debian = docker.call("run", "--rm", "--network", "none", *listing, what=image)
    return sorted([*_python(json.loads(python)), *_debian(debian)])


def _python(found: Mapping[str, Sequence[str]]) -> Iterator[Part]:
    for name, (version, expression, text) in found.items():
        licence = expression or (text if len(text) <= _MOST_LICENCE and "\n" not in text else "")
        yield Part("pypi", name, version, licence)


def _debian(listing: str) -> Iterator[Part]:
    for line in listing.splitlines():
        name, version, architecture = line.split("\t")
        yield Part("deb", name, version, architecture=architecture)


def document(image: str, labels: Mapping[str, str], found: Sequence[Part]) -> dict[str, Any]:
    """The bill of materials, valid CycloneDX 1.6.

    Raises:
        SagestageError: the library that writes it is missing.
    """
    try:
        from cyclonedx.model import Property
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.license import DisjunctiveLicense
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError:
        raise SagestageError(
            "the bill of materials needs cyclonedx-python-lib: pip install 'sagestage[images]'"
        ) from None
    bom = Bom()
    name, _, version = image.partition(":")
    bom.metadata.component = whole = Component(
        bom_ref=image,
        type=ComponentType.CONTAINER,
        name=name,
        version=labels.get("org.opencontainers.image.version", version),
        properties=[Property(name=key, value=value) for key, value in sorted(labels.items())],
    )
    for part in found:
        space = "debian" if part.kind == "deb" else None
        qualifiers = {"arch": part.architecture} if part.architecture else None
        address = PackageURL(part.kind, space, part.name, part.version, qualifiers)
        component = Component(
            bom_ref=str(address),  # the same for the same package: two bills can be compared
            type=ComponentType.LIBRARY,
            name=part.name,
            version=part.version,
            purl=address,
            licenses=[DisjunctiveLicense(name=part.licence)] if part.licence else [],
        )
        bom.components.add(component)
        bom.register_dependency(whole, [component])
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return made


def of(image: str) -> dict[str, Any]:
    """The bill of materials of an image."""
    found = json.loads(docker.call("image", "inspect", "--format", "{{json .Config.Labels}}", image, what=image)) or {}
    return document(image, found, parts(image))
