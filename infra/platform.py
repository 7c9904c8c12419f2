"""What stands around endpoints: registries of models, repositories of images, and what it may all cost."""

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra import names
from infra.plan import arn_of
from infra.platform_spec import BudgetSpec, RegistrySpec, RepositorySpec
from infra.surroundings import child, is_local, tags
from infra.topic import Topic


class Registry(pulumi.ComponentResource):
    """A model package group: versions of one model, approved one by one.

    A version's ARN goes to `Model(package=…)`; SageMaker makes no model of one that nobody approved.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        description: what the model is for; a change replaces the group.
        opts: Pulumi's options.

    Attributes:
        group_name: the physical name, which versions are registered under.

    Raises:
        SpecError: a limit of SageMaker is broken.
    """

    group_name: pulumi.Output[str]

    def __init__(self, name: str, *, description: str = "", opts: pulumi.ResourceOptions | None = None) -> None:
        spec = RegistrySpec(name, _physical(name), description)
        super().__init__("sagestage:index:Registry", name, None, opts)
        group = aws.sagemaker.ModelPackageGroup(
            name,
            model_package_group_name=spec.physical_name,
            model_package_group_description=spec.description or None,
            tags=tags(),
            opts=child(self, protect=not is_local()),
        )
        self.group_name = group.model_package_group_name
        self.register_outputs({"groupName": self.group_name})


class Repository(pulumi.ComponentResource):
    """A repository of images: scanned when they come, never overwritten, the old ones cleared away.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        keep_images: how many tagged images stay.
        keep_untagged_days: how long images stay that lost their tag.
        kms_key: ARN of a KMS key; None: ECR's own encryption.
        opts: Pulumi's options.

    Attributes:
        url: `<account>.dkr.ecr.<region>.amazonaws.com/<name>`, what images are pushed to.

    Raises:
        SpecError: a limit of ECR is broken.
    """

    url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        keep_images: int = 30,
        keep_untagged_days: int = 7,
        kms_key: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        spec = RepositorySpec(name, _physical(name), keep_images, keep_untagged_days, kms_key)
        super().__init__("sagestage:index:Repository", name, None, opts)
        encryption: dict[str, Any] = {"encryption_type": "AES256"}
        if kms_key is not None:
            encryption = {"encryption_type": "KMS", "kms_key": kms_key}
        repository = aws.ecr.Repository(
            name,
            name=spec.physical_name,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[encryption],
            force_delete=is_local(),
            tags=tags(),
            opts=child(self),
        )
        aws.ecr.LifecyclePolicy(name, repository=repository.name, policy=lifecycle(spec), opts=child(self))
        self.url = repository.repository_url
        self.register_outputs({"url": self.url})


def lifecycle(spec: RepositorySpec) -> str:
    """An ECR lifecycle policy, as JSON. Rules run by priority; one for all images has to come last."""
    untagged = {
        "rulePriority": 1,
        "description": "images that lost their tag",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": spec.keep_untagged_days,
        },
        "action": {"type": "expire"},
    }
    old = {
        "rulePriority": 2,
        "description": "all but the newest",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": spec.keep_images},
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [untagged, old]}, sort_keys=True)


class Budget(pulumi.ComponentResource):
    """What this stack's SageMaker may cost in a month, and who hears of it.

    It counts what carries the stack's tags; AWS has to be told once, in the billing console, that
    `sagestage:project` and `sagestage:stack` are cost allocation tags.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        monthly_usd: the limit, in US dollars.
        emails: who gets a mail.
        topic: a Topic or its ARN.
        at_percent: shares of the limit at which what was spent is told.
        forecast_percent: shares of the limit at which what will be spent is told.
        opts: Pulumi's options.

    Raises:
        SpecError: a limit of AWS Budgets is broken.
    """

    def __init__(
        self,
        name: str,
        *,
        monthly_usd: float,
        emails: Sequence[pulumi.Input[str]] = (),
        topic: Topic | pulumi.Input[str] | None = None,
        at_percent: Sequence[float] = (80, 100),
        forecast_percent: Sequence[float] = (100,),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        topics = () if topic is None else (arn_of(topic),)
        spec = BudgetSpec(
            name, _physical(name), monthly_usd, tuple(emails), topics, tuple(at_percent), tuple(forecast_percent)
        )
        super().__init__("sagestage:index:Budget", name, None, opts)
        aws.budgets.Budget(name, **budget(spec, pulumi.get_stack()), tags=tags(), opts=child(self))
        self.register_outputs({})


def budget(spec: BudgetSpec, stack: str) -> dict[str, Any]:
    """aws.budgets.Budget."""
    told: dict[str, Any] = {}
    if spec.emails:
        told["subscriber_email_addresses"] = list(spec.emails)
    if spec.topics:
        told["subscriber_sns_topic_arns"] = list(spec.topics)
    points = [("ACTUAL", share) for share in spec.at_percent] + [
        ("FORECASTED", share) for share in spec.forecast_percent
    ]
    return {
        "name": spec.physical_name,
        "budget_type": "COST",
        "time_unit": "MONTHLY",
        "limit_amount": f"{spec.monthly_usd:.15g}",
        "limit_unit": "USD",
        "cost_filters": [
            {"name": "Service", "values": ["Amazon SageMaker"]},
            {"name": "TagKeyValue", "values": [f"user:{names.STACK_TAG}${stack}"]},
        ],
        "notifications": [
            {
                "comparison_operator": "GREATER_THAN",
                "threshold": share,
                "threshold_type": "PERCENTAGE",
                "notification_type": kind,
                **told,
            }
            for kind, share in points
        ],
    }


def _physical(name: str) -> str:
    return names.physical(pulumi.get_project(), pulumi.get_stack(), name)
