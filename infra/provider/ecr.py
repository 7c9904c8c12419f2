"""ECR: repositories and the two policies of a repository."""

from __future__ import annotations

from dataclasses import dataclass

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Plain, Properties


@dataclass(frozen=True, kw_only=True)
class RepositoryType(ResourceType):
    """A repository's settings have a call each, and images in it are deleted only when asked for."""

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Put the settings that differ."""
        del timeout_s
        calls: dict[str, tuple[str, Plain]] = {
            "imageTagMutability": ("PutImageTagMutability", "MUTABLE"),
            "imageScanningConfiguration": ("PutImageScanningConfiguration", {"scanOnPush": False}),
        }
        for name, (operation, empty) in calls.items():
            if not self.props[name].same(olds.get(name), news.get(name)):
                value = empty if news.get(name) is None else news[name]
                self.call(aws, operation, self.request(operation, {"name": resource_id, name: value}), olds)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the repository, with its images only under forceDelete."""
        del timeout_s
        try:
            params = {"repositoryName": resource_id, "force": bool(state.get("forceDelete"))}
            self.call(aws, self.delete, params, state)
        except AwsError as error:
            if not error.missing:
                raise


REPOSITORY = RepositoryType(
    pulumi_type="aws:ecr/repository:Repository",
    service="ecr",
    create="CreateRepository",
    read="DescribeRepositories",
    delete="DeleteRepository",
    key_members={"name": "repositoryName repositoryNames[]"},
    found="repositories.0",
    name=AutoName(limit=256, lower=True),
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="resourceArn"),
    outputs={"arn": "repositoryArn", "registryId": "registryId", "repositoryUrl": "repositoryUri"},
    props=props(
        "imageScanningConfiguration",
        name=Prop(member="repositoryName", replaces=True),
        encryptionConfigurations=Prop(replaces=True, computed=True),
        forceDelete=Prop(sent=False),
        imageTagMutability=Prop(default="MUTABLE"),
        imageTagMutabilityExclusionFilters=Prop(unsupported="the embedded AWS has no exclusions from mutability"),
    ),
)


def _policy(name: str, text: str, put: str, *, replaces: bool) -> ResourceType:
    return ResourceType(
        pulumi_type=f"aws:ecr/{name[0].lower()}{name[1:]}:{name}",
        service="ecr",
        create=f"{put}{name}",
        read=f"Get{name}",
        update=f"{put}{name}",
        delete=f"Delete{name}",
        key=("repository",),
        outputs={"registryId": "registryId"},
        props=props(
            repository=Prop(member="repositoryName", replaces=True, required=True),
            policy=Prop(member=text, replaces=replaces, required=True, json=True),
        ),
    )


TYPES = (
    REPOSITORY,
    _policy("LifecyclePolicy", "lifecyclePolicyText", "Put", replaces=True),
    _policy("RepositoryPolicy", "policyText", "Set", replaces=False),
)
