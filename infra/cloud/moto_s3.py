"""What moto's S3 gets wrong about bucket policies, put right from outside.

moto 5.2.5 denies what a Deny statement names even where the statement's condition does not hold, so the TLS-only policy
that every bucket should have would close the bucket. Here the loopback connection counts as TLS: a Deny under the
condition that the connection is none does not apply.
"""

import json
from collections.abc import Mapping
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket


def install() -> None:
    """Make moto's buckets decide as above."""
    FakeBucket.get_permission = _permission  # type: ignore[method-assign,assignment]  # that is the purpose


def _permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    statements = policy.get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]
    applying = [statement for statement in listed if not _is_for_plain_http(statement)]
    if not applying:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps(policy | {"Statement": applying})).is_action_permitted(action, resource)


def _is_for_plain_http(statement: Mapping[str, Any]) -> bool:
    wanted = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return statement.get("Effect") == "Deny" and str(wanted).lower() == "false"
