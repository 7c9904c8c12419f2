"""A model as a value: containers, their artifacts, and the network that they run in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from dataclasses import field as default_of
from typing import Annotated, Any, Literal

from infra import limits
from infra.accelerators import cuda_problems
from infra.names import DIGEST_VARIABLE, artifact_problems, prefix_problems, tag_problems
from infra.values import FROZEN, spec, within


def _in_range(subnets: Sequence[Any], security_groups: Sequence[Any]) -> Iterator[str]:
    for field, values, number, text in (
        ("subnets", subnets, limits.SUBNETS, limits.SUBNET),
        ("security_groups", security_groups, limits.GROUPS, limits.GROUP),
    ):
        if (subnets or security_groups) and (problem := number.problem(len(values))) is not None:
            yield f"{field}: their number {problem}"
        for one in values:
            if isinstance(one, str) and (problem := text.problem(one)) is not None:
                yield f"{field} {problem}"


def _something(subnets: Sequence[Any], security_groups: Sequence[Any], *, isolated: bool) -> Iterator[str]:
    if not (subnets or security_groups or isolated):
        yield "it says nothing: give subnets and security_groups, isolated=True, or leave the network out"


@spec(_in_range, _something)
class Network:
    """The network of a model's containers. It belongs to the model: another network is another model.

    Attributes:
        subnets: 1 to 16 subnet ids of one VPC.
        security_groups: 1 to 5 security group ids of the same VPC.
        isolated: the containers reach nothing at all, not even S3: SageMaker brings the artifact.
    """

    subnets: Annotated[Sequence[Any], FROZEN] = ()
    security_groups: Annotated[Sequence[Any], FROZEN] = ()
    _: KW_ONLY
    isolated: bool = False


def environment_problems(environment: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a container's variables."""
    for name, value in environment.items():
        if (problem := limits.ENVIRONMENT_NAME.problem(name)) is not None:
            yield f"environment: a name {problem}"
        if name == DIGEST_VARIABLE:
            yield f"environment: {DIGEST_VARIABLE} is taken from the artifact's key, got {value!r}"
        if isinstance(value, str) and (problem := limits.ENVIRONMENT_VALUE.problem(value)) is not None:
            yield f"environment: {name} {problem}"
    known = sum(len(f"{name}{value}".encode()) for name, value in environment.items() if isinstance(value, str))
    if known > limits.ENVIRONMENT_BYTES.value:
        most = f"{limits.ENVIRONMENT_BYTES.value:g} bytes"
        yield f"environment: names and values must have at most {most}, got {known} ({limits.ENVIRONMENT_BYTES.source})"


def _container(name: str, image: Any, artifact: Any) -> Iterator[str]:
    if (problem := limits.CONTAINER_NAME.problem(name)) is not None:
        yield f"name {problem}"
    yield from _texts(image, artifact, None)
    if isinstance(artifact, str):
        yield from artifact_problems(artifact)


@spec(_container, environment_problems)
class Container:
    """One of several containers of a model.

    Attributes:
        name: its name within the model.
        image: the image.
        artifact: `s3://<bucket>/…/<sha256>/model.tar.gz`.
        environment: variables of the container.
    """

    name: str
    _: KW_ONLY
    image: Any
    artifact: Any
    environment: Mapping[str, Any] = default_of(default_factory=dict)


def _texts(image: Any, artifact: Any, role: Any) -> Iterator[str]:
    for field, limit, value in (
        ("image", limits.IMAGE, image),
        ("artifact", limits.ARTIFACT, artifact),
        ("role", limits.ROLE_ARN, role),
    ):
        if isinstance(value, str) and (problem := limit.problem(value)) is not None:
            yield f"{field} {problem}"


def _content(
    image: Any, artifact: Any, *, multi_model: bool, package: Any, containers: tuple[Any, ...]
) -> Iterator[str]:
    if containers and (image is not None or artifact is not None or package is not None or multi_model):
        yield "containers carry images and artifacts of their own: leave out image, artifact, package and multi_model"
    if not containers and package is None and image is None:
        yield "image is missing"
    if not containers and package is None and artifact is None:
        yield "artifact is missing"
    if isinstance(artifact, str):
        yield from prefix_problems(artifact) if multi_model else artifact_problems(artifact)


def _package(package: Any, role: Any, image: Any, artifact: Any, *, multi_model: bool) -> Iterator[str]:
    if package is None:
        return
    if isinstance(package, str) and not limits.PACKAGE.fullmatch(package):
        form = "arn:aws:sagemaker:<region>:<account>:model-package/<group>/<version>"
        yield f"package must be the ARN of a version, {form}, got {package!r}"
    if multi_model:
        yield "package and multi_model exclude each other: a package holds one model"
    if role is None and (image is None or artifact is None):
        yield "package needs role=, or the image and artifact that it was registered with: the role may read just these"


def _pipeline(containers: tuple[Container, ...], execution: str | None) -> Iterator[str]:
    if not containers:
        if execution is not None:
            yield f"execution is for several containers, got {execution!r} and none"
        return
    if (problem := limits.CONTAINERS.problem(len(containers))) is not None:
        yield f"containers: their number {problem}"
    names = [one.name for one in containers]
    for name in sorted({name for name in names if names.count(name) > 1}):
        times = names.count(name)
        yield f"containers: names must be unique, got {name!r} {times} times (SageMaker API, ContainerHostname)"


def _tags(tags: Mapping[str, Any] | None) -> Iterator[str]:
    yield from tag_problems(tags or {})


def _cuda(cuda: Any) -> Iterator[str]:
    yield from cuda_problems(cuda)


def _boundary(permissions_boundary: Any, role: Any) -> Iterator[str]:
    if permissions_boundary is None:
        return
    if role is not None:
        yield "permissions_boundary is for the role that is made, and role= was given: leave one out"
    if isinstance(permissions_boundary, str) and not limits.POLICY_ARN.fullmatch(permissions_boundary):
        yield f"permissions_boundary must be the ARN of a policy, got {permissions_boundary!r}"


@spec(environment_problems, _texts, _content, _package, _pipeline, _tags, _cuda, _boundary)
class ModelSpec:
    """A model: an image and an artifact whose key carries the artifact's content digest.

    Attributes:
        name: Pulumi's name of it; the physical name is this and a suffix of Pulumi's.
        image: the serving image, as text or as an output of another resource.
        artifact: `s3://<bucket>/…/<sha256>/model.tar.gz`, as text or as an output of another resource; for several
            models behind one endpoint the prefix that they lie under, ending in a slash.
        role: ARN of a role that SageMaker may assume; None: one is made.
        environment: variables of the container.
        network: subnets, security groups, isolation; None: SageMaker's own network.
        multi_model: the prefix holds many archives, and a request names the one that it is for.
        package: ARN of an approved version in a model package group, instead of image and artifact.
        containers: several containers instead of one.
        execution: whether several containers run one after the other (Serial) or are called one by one (Direct).
        permissions_boundary: ARN of a policy that bounds the role that is made.
        tags: further tags.
        cuda: the CUDA version of the image's libraries; None where it is not known: then no AMI is refused.
    """

    name: Annotated[str, within(limits.MODEL_PREFIX)]
    image: Any = None
    artifact: Any = None
    _: KW_ONLY
    role: Any = None
    environment: Mapping[str, Any] = default_of(default_factory=dict)
    network: Network | None = None
    multi_model: bool = False
    package: Any = None
    containers: tuple[Container, ...] = ()
    execution: Literal["Serial", "Direct"] | None = None
    permissions_boundary: Any = None
    tags: Mapping[str, Any] | None = None
    cuda: Any = None
