"""The functions of the `aws` package that programs call while they declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.provider.aws import Aws
from infra.provider.policy_document import policy_document
from infra.provider.values import Properties

Invoke = Callable[[Aws, Properties], Properties]


def caller_identity(aws: Aws, args: Properties) -> Properties:
    """Who the (dummy) keys belong to."""
    answer = aws.call("sts", "GetCallerIdentity", {})
    account = answer["Account"]
    return {**args, "accountId": account, "arn": answer["Arn"], "userId": answer["UserId"], "id": account}


def region(aws: Aws, args: Properties) -> Properties:
    """The region asked for, or the configured one."""
    name = args.get("region") or args.get("name") or aws.settings.region
    return {
        "id": name,
        "name": name,
        "region": name,
        "description": f"{name} (embedded)",
        "endpoint": f"ec2.{name}.amazonaws.com",
    }


def partition(aws: Aws, args: Properties) -> Properties:
    """The only partition that the embedded AWS has."""
    del aws, args
    return {
        "id": "aws",
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    }


INVOKES: Mapping[str, Invoke] = {
    "aws:index/getCallerIdentity:getCallerIdentity": caller_identity,
    "aws:index/getPartition:getPartition": partition,
    "aws:index/getRegion:getRegion": region,
    "aws:iam/getPolicyDocument:getPolicyDocument": lambda _, args: policy_document(args),
}
