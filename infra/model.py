"""A model: an image, an artifact known by its content, and a role that may read just that."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra import names, plan, policies
from infra.spec import ModelSpec
from infra.surroundings import child, home, tags


class Model(pulumi.ComponentResource):
    """A SageMaker model. It is immutable and named by Pulumi; new content is a new model.

    It outlives its declaration while an endpoint runs it: `sagestage prune` deletes it then.

    Attributes:
        spec: what was declared.
        model_name: the physical name.
        sha256: the artifact's digest, 64 hex digits.
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

    def __init__(
        self,
        name: str,
        *,
        image: pulumi.Input[str],
        artifact: pulumi.Input[str],
        role: pulumi.Input[str] | None = None,
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.spec = spec = ModelSpec(
            name, image, artifact, role=role, environment={} if environment is None else environment
        )
        super().__init__("sagestage:index:Model", name, None, opts)
        if names.is_mutable(image):
            pulumi.log.warn(f"image {image!r} may change its content: name it by digest or by a fixed tag", self)
        content = pulumi.Output.from_input(artifact).apply(names.artifact)
        self.sha256 = content.apply(lambda found: found.sha256)
        made: list[pulumi.Resource] = []
        if role is None:
            own, policy = self._make_role(name, image, content)
            made = [policy]
            self.role_arn, self.role_name = own.arn, own.name
        else:
            self.role_arn, self.role_name = pulumi.Output.from_input(role), None
        resource = aws.sagemaker.Model(
            name,
            **plan.model(spec, digest=self.sha256, role_arn=self.role_arn, tags=tags()),
            opts=child(self, depends_on=made, retain_on_delete=True),
        )
        self.model_name = resource.name
        self.register_outputs({"modelName": self.model_name, "sha256": self.sha256, "roleArn": self.role_arn})

    def _make_role(
        self, name: str, image: pulumi.Input[str], content: pulumi.Output[names.Artifact]
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        here = home(self)
        role = aws.iam.Role(
            name,
            assume_role_policy=here.apply(policies.trust),
            description=f"SageMaker runs the model {name} as this",
            tags=tags(),
            opts=child(self),
        )
        document = pulumi.Output.all(here, content, image).apply(lambda of: policies.model(of[0], of[1], of[2]))
        policy = aws.iam.RolePolicy(f"{name}-run", role=role.name, policy=document, opts=child(self))
        return role, policy
