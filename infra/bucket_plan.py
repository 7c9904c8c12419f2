"""A bucket's settings as arguments of S3's resources: pure."""

from collections.abc import Sequence
from typing import Any

Args = dict[str, Any]

BLOCKED = {
    "block_public_acls": True,
    "block_public_policy": True,
    "ignore_public_acls": True,
    "restrict_public_buckets": True,
}


def encryption(kms_key: Any) -> Args:
    """aws.s3.BucketServerSideEncryptionConfiguration: never optional; the key is S3's own unless one is given."""
    if kms_key is None:
        return {"rules": [{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}]}
    default = {"sse_algorithm": "aws:kms", "kms_master_key_id": kms_key}
    # one call to KMS for many records
    return {"rules": [{"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True}]}


def expiry(name: str, prefixes: Sequence[str], days: int) -> Args:
    """aws.s3.BucketLifecycleConfiguration: what lies under the prefixes has its days, a broken upload one."""
    return {
        "rules": [
            {
                "id": name if len(prefixes) == 1 else f"{name}-{prefix}",
                "status": "Enabled",
                "filter": {"prefix": f"{prefix}/"},
                "expiration": {"days": days},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
            }
            for prefix in prefixes
        ],
    }


def old_versions(days: int) -> Args:
    """aws.s3.BucketLifecycleConfiguration: what was overwritten or deleted goes after its days; what is there stays."""
    return {
        "rules": [
            {
                "id": "expire-old-versions",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "noncurrent_version_expiration": {"noncurrent_days": days},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
            },
        ],
    }
