"""A topic that people and programs listen to."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from infra import names, policies
from infra.platform_spec import TopicSpec
from infra.surroundings import child, home, tags

_PUBLISHERS = {
    "Alarms": "cloudwatch.amazonaws.com",
    "Budgets": "budgets.amazonaws.com",
    "Schedules": "events.amazonaws.com",
}


class Topic(pulumi.ComponentResource):
    """An SNS topic that this account's alarms, budgets and asynchronous endpoints may publish to.

    Args:
        name: Pulumi's name; the physical one is `<project>-<stack>-<name>`.
        emails: who gets a mail; each has to confirm the subscription once.
        subscriptions: (protocol, endpoint), such as ("sqs", queue.arn) or ("https", "https://…").
        kms_key: ARN of a KMS key of one's own, whose policy lets cloudwatch.amazonaws.com use it; the key that AWS
            keeps for SNS would not let alarms publish.
        opts: Pulumi's options.

    Attributes:
        topic_arn: its ARN.

    Raises:
        SpecError: a limit of SNS is broken.
    """

    topic_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        emails: Sequence[pulumi.Input[str]] = (),
        subscriptions: Sequence[tuple[str, pulumi.Input[str]]] = (),
        kms_key: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        physical = names.physical(pulumi.get_project(), pulumi.get_stack(), name)
        spec = TopicSpec(name, physical, tuple(emails), tuple(subscriptions), kms_key)
        super().__init__("sagestage:index:Topic", name, None, opts)
        policy = home(self).apply(
            lambda here: policies.publishers(here.arn("sns", physical), here.account, _PUBLISHERS)
        )
        topic = aws.sns.Topic(
            name, name=physical, policy=policy, kms_master_key_id=kms_key, tags=tags(), opts=child(self)
        )
        listeners = [*(("email", mail) for mail in spec.emails), *spec.subscriptions]
        for number, (protocol, endpoint) in enumerate(listeners, start=1):
            aws.sns.TopicSubscription(
                f"{name}-{number}", topic=topic.arn, protocol=protocol, endpoint=endpoint, opts=child(self)
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topicArn": self.topic_arn})
