"""AWS Budgets: what may be spent, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.shapes import Issue
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import UNKNOWN, Plain, Properties


@dataclass(frozen=True, kw_only=True)
class BudgetType(ResourceType):
    """A budget lies inside its request, and its notifications beside it."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the budget with its notifications; its id is `<account>:<name>`."""
        del timeout_s
        account = self._account(aws, inputs)
        params = {**self.request(self.create, inputs), "AccountId": account}
        if tags:
            params["ResourceTags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.call(aws, self.create, params, inputs)
        return f"{account}:{inputs['name']}"

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The budget's limit, as AWS has it."""
        account, _, name = resource_id.partition(":")
        try:
            answer = self.call(aws, self.read, {"AccountId": account, "BudgetName": name}, state)
        except AwsError as error:
            if error.missing:
                return None
            raise
        there = answer["Budget"]
        limit = there.get("BudgetLimit", {})
        amount = str(limit.get("Amount", ""))
        told = state.get("limitAmount")
        same = isinstance(told, str) and amount and float(told) == float(amount)
        return {
            "name": name,
            "accountId": account,
            "arn": f"arn:aws:budgets::{account}:budget/{name}",
            "budgetType": there.get("BudgetType"),
            "timeUnit": there.get("TimeUnit"),
            "limitAmount": told if same else amount,
            "limitUnit": limit.get("Unit"),
        }

    def change(self, aws: Aws, resource_id: str, olds: Properties, news: Properties, timeout_s: float) -> None:
        """Put the budget, and make the notifications anew where they differ."""
        del timeout_s
        account, _, name = resource_id.partition(":")
        whole = self.request(self.create, news)
        if whole["Budget"] != self.request(self.create, olds)["Budget"]:
            self.call(aws, self.update, {"AccountId": account, "NewBudget": whole["Budget"]}, olds)
        target = {"AccountId": account, "BudgetName": name}
        before, after = list(_notifications(olds)), list(_notifications(news))
        for one in before:
            if one not in after:
                self.call(aws, "DeleteNotification", target | {"Notification": one["Notification"]}, olds)
        for one in after:
            if one not in before:
                self.call(aws, "CreateNotification", target | one, olds)

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the budget."""
        del timeout_s
        account, _, name = resource_id.partition(":")
        try:
            self.call(aws, self.delete, {"AccountId": account, "BudgetName": name}, state)
        except AwsError as error:
            if not error.missing:
                raise

    def identify(self, inputs: Properties) -> str:
        """`<account>:<name>`."""
        return f"{inputs.get('accountId')}:{inputs.get('name')}"

    def encoded(self, operation: str, inputs: Properties, issues: list[Issue]) -> dict[str, Any]:
        """The parameters of `create`; the budget's own members lie one level deeper than most."""
        params = super().encoded(operation, inputs, issues)
        budget = params["Budget"]
        if inputs.get("limitAmount") is not None:
            budget["BudgetLimit"] = {"Amount": inputs["limitAmount"], "Unit": inputs.get("limitUnit")}
        filters = inputs.get("costFilters")
        if isinstance(filters, list) and filters:
            budget["CostFilters"] = {str(one["name"]): one["values"] for one in filters if isinstance(one, dict)}
        told = list(_notifications(inputs))
        return params | ({"NotificationsWithSubscribers": told} if told else {})

    @staticmethod
    def _account(aws: Aws, inputs: Properties) -> str:
        given = inputs.get("accountId")
        return given if isinstance(given, str) else str(aws.call("sts", "GetCallerIdentity", {})["Account"])


_SUBSCRIBERS = {"subscriberEmailAddresses": "EMAIL", "subscriberSnsTopicArns": "SNS"}


def _notifications(inputs: Properties) -> Iterator[dict[str, Any]]:
    listed = inputs.get("notifications")
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict):
            continue
        yield {
            "Notification": {
                "NotificationType": one.get("notificationType"),
                "ComparisonOperator": one.get("comparisonOperator"),
                "Threshold": one.get("threshold"),
                "ThresholdType": one.get("thresholdType"),
            },
            "Subscribers": [
                {"SubscriptionType": kind, "Address": address}
                for name, kind in _SUBSCRIBERS.items()
                for address in _texts(one.get(name))
            ],
        }


def _texts(value: Plain) -> list[Plain]:
    return [item for item in value if item is not UNKNOWN] if isinstance(value, list) else []


_LATER = "the embedded AWS keeps budgets of one fixed amount"

BUDGET = BudgetType(
    pulumi_type="aws:budgets/budget:Budget",
    service="budgets",
    create="CreateBudget",
    read="DescribeBudget",
    update="UpdateBudget",
    delete="DeleteBudget",
    body="Budget",
    key=("accountId", "name"),
    regional=False,
    name=AutoName(limit=100),
    tagging=Tagging(add="TagResource", remove="UntagResource", list="ListTagsForResource", target="ResourceARN"),
    props=props(
        "budgetType* timeUnit*",
        name=Prop(member="BudgetName", replaces=True),
        namePrefix=Prop(replaces=True, sent=False),
        accountId=Prop(replaces=True, computed=True, sent=False),
        limitAmount=Prop(sent=False, computed=True),
        limitUnit=Prop(sent=False, computed=True),
        costFilters=Prop(sent=False, computed=True),
        notifications=Prop(sent=False),
        autoAdjustData=Prop(unsupported=_LATER),
        billingViewArn=Prop(unsupported=_LATER),
        costTypes=Prop(unsupported=_LATER),
        filterExpression=Prop(unsupported=_LATER),
        metrics=Prop(unsupported=_LATER),
        plannedLimits=Prop(unsupported=_LATER),
        timePeriodEnd=Prop(unsupported=_LATER, sent=False),
        timePeriodStart=Prop(unsupported=_LATER, sent=False),
    ),
)

TYPES = (BUDGET,)
