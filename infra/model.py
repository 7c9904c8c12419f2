"""A model: an image, an artifact known by its content, and a role that may read just that."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra import names, plan, policies
from infra.model_spec import Container, ModelSpec, Network
from infra.policies import Contents
from infra.surroundings import child, home, hosting, tags


class Model(pulumi.ComponentResource):
    """A SageMaker model. It is immutable and named by Pulumi; new content, or another network, is a new model.

    It outlives its declaration while an endpoint runs it: `sagestage prune` deletes it then.

    Args:
        name: Pulumi's name of it.
        image: the serving image, by digest or by a fixed tag.
        artifact: `s3://<bucket>/…/<sha256>/model.tar.gz`; with `multi_model`, a prefix that ends in a slash.
        role: ARN of a role that SageMaker may assume; absent: one is made that may do what this model needs.
        environment: variables of the container.
        network: subnets and security groups, or isolation.
        multi_model: many archives under one prefix; a request names the one that it is for.
        package: ARN of an approved version in a Registry, instead of image and artifact (which then only tell the
            role what it may read). SageMaker refuses a version that nobody approved.
        containers: several containers instead of one.
        execution: Serial (a pipeline) or Direct (a request names the container).
        permissions_boundary: ARN of a policy that bounds the role that is made.
        tags: further tags.
        cuda: the CUDA version of the image's libraries, as the image's label says (`sagestage images`): a variant
            on GPUs whose AMI is older is refused. None: not known; "none": it has none.
        opts: Pulumi's options.

    Attributes:
        spec: what was declared.
        model_name: the physical name.
        sha256: the artifact's digest, 64 hex digits; of the first container; empty where the address carries none.
        role_arn: the role that SageMaker assumes.
        role_name: the name of the role that was made; None when one was given.

    Raises:
        SpecError: a bad name, image or role; an artifact whose key does not carry its digest.
    """

    spec: ModelSpec
    model_name: pulumi.Output[str]
    sha256: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str] | None

    def __init__(  # noqa: PLR0913 - what SageMaker's CreateModel takes, each by its name
        self,
        name: str,
        *,
        image: pulumi.Input[str] | None = None,
        artifact: pulumi.Input[str] | None = None,
        role: pulumi.Input[str] | None = None,
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        network: Network | None = None,
        multi_model: bool = False,
        package: pulumi.Input[str] | None = None,
        containers: Sequence[Container] = (),
        execution: Literal["Serial", "Direct"] | None = None,
        permissions_boundary: pulumi.Input[str] | None = None,
        tags: Mapping[str, pulumi.Input[str]] | None = None,
        cuda: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.spec = ModelSpec(
            name,
            image,
            artifact,
            role=role,
            environment={} if environment is None else environment,
            network=network,
            multi_model=multi_model,
            package=package,
            containers=tuple(containers),
            execution=execution,
            permissions_boundary=permissions_boundary,
            tags=tags,
            cuda=cuda,
        )
        super().__init__("sagestage:index:Model", name, None, opts)
        for one in [image, *(container.image for container in containers)]:
            if names.is_mutable(one):
                pulumi.log.warn(f"image {one!r} may change its content: name it by digest or by a fixed tag", self)
        made: list[pulumi.Resource] = []
        if role is None:
            own, policy = self._make_role()
            made = [policy]
            self.role_arn, self.role_name = own.arn, own.name
        else:
            self.role_arn, self.role_name = pulumi.Output.from_input(role), None
        digests = self._digests()
        resource = aws.sagemaker.Model(
            name,
            **plan.model(self.spec, digests=digests, role_arn=self.role_arn, tags={**_stack_tags(), **hosting()}),
            opts=child(self, depends_on=made, retain_on_delete=True, replace_on_changes=list(plan.NEW_MODEL_ON)),
        )
        self.model_name = resource.name
        self.sha256 = next(iter(digests.values()), pulumi.Output.from_input(""))
        self.register_outputs({"modelName": self.model_name, "sha256": self.sha256, "roleArn": self.role_arn})

    def _digests(self) -> dict[str, pulumi.Output[str]]:
        spec = self.spec
        if spec.multi_model or spec.package is not None:
            return {}
        addresses = {one.name: one.artifact for one in spec.containers} or {"": spec.artifact}
        return {name: pulumi.Output.from_input(uri).apply(_digest) for name, uri in addresses.items()}

    def _make_role(self) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        here, spec = home(self), self.spec
        role = aws.iam.Role(
            spec.name,
            assume_role_policy=here.apply(policies.trust),
            description=f"SageMaker runs the model {spec.name} as this",
            permissions_boundary=spec.permissions_boundary,
            tags={**(spec.tags or {}), **_stack_tags()},
            opts=child(self),
        )
        parts: list[Any] = [(one.image, one.artifact) for one in spec.containers] or [(spec.image, spec.artifact)]
        document = pulumi.Output.all(here, spec.package, *(value for pair in parts for value in pair)).apply(
            self._policy
        )
        return role, aws.iam.RolePolicy(f"{spec.name}-run", role=role.name, policy=document, opts=child(self))

    def _policy(self, known: Sequence[Any]) -> str:
        here, package, *values = known
        pairs = zip(values[::2], values[1::2], strict=True)
        containers = [Contents(image, artifact, many=self.spec.multi_model) for image, artifact in pairs]
        network = self.spec.network is not None and bool(self.spec.network.subnets)
        return policies.model(here, containers, network=network, package=package)


def _digest(uri: str) -> str:
    return names.artifact(uri).sha256


def _stack_tags() -> dict[str, str]:
    return tags()
