"""The buckets that components make: encrypted, closed to the public, TLS only, with an end for every object."""

from typing import Any

import pulumi
import pulumi_aws as aws

from infra import bucket_plan, policies
from infra.platform_spec import ArtifactsSpec
from infra.surroundings import child, is_local, tags


class _Bucket(pulumi.ComponentResource):
    """A bucket with everything but its lifecycle.

    Attributes:
        bucket: the bucket's name.
        secured: what must be in place before the first object is written.
    """

    bucket: pulumi.Output[str]
    secured: list[pulumi.Resource]

    def __init__(
        self, kind: str, name: str, *, kms_key: Any, endpoint: str | None, opts: pulumi.ResourceOptions | None
    ) -> None:
        super().__init__(f"sagestage:index:{kind}", name, None, opts)
        # What lies there is data: only a rehearsal throws it away with the bucket.
        bucket = aws.s3.Bucket(name, force_destroy=is_local(), tags=tags(endpoint), opts=child(self))
        own = child(self)
        access = aws.s3.BucketPublicAccessBlock(name, bucket=bucket.id, **bucket_plan.BLOCKED, opts=own)
        self.secured = [
            access,
            aws.s3.BucketOwnershipControls(
                name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=own
            ),
            aws.s3.BucketServerSideEncryptionConfiguration(
                name, bucket=bucket.id, **bucket_plan.encryption(kms_key), opts=own
            ),
            # S3 refuses concurrent changes of a bucket's policy and its public access block.
            aws.s3.BucketPolicy(
                name,
                bucket=bucket.id,
                policy=bucket.arn.apply(policies.tls_only),
                opts=child(self, depends_on=[access]),
            ),
        ]
        self.bucket = bucket.id


class DataBucket(_Bucket):
    """Where an endpoint's records lie: captured ones, or the requests and answers of an asynchronous endpoint."""

    def __init__(
        self,
        name: str,
        *,
        prefixes: tuple[str, ...],
        keep_days: int,
        kms_key: Any,
        endpoint: str,
        opts: pulumi.ResourceOptions,
    ) -> None:
        super().__init__("DataBucket", name, kms_key=kms_key, endpoint=endpoint, opts=opts)
        rules = bucket_plan.expiry("expire-records", prefixes, keep_days)
        self.secured.append(aws.s3.BucketLifecycleConfiguration(name, bucket=self.bucket, **rules, opts=child(self)))
        self.register_outputs({"bucket": self.bucket})

    def uri(self, prefix: str) -> pulumi.Output[str]:
        """The address of what lies under a prefix."""
        return pulumi.Output.format("s3://{0}/{1}", self.bucket, prefix)


class Artifacts(_Bucket):
    """The bucket that models' archives are kept in: versioned, since a deployment may need yesterday's.

    Args:
        name: Pulumi's name, which the bucket's begins with.
        keep_old_days: days after which what was overwritten or deleted is gone for good.
        kms_key: ARN of a KMS key; None: S3's own keys (SSE-S3).
        opts: Pulumi's options.

    Attributes:
        bucket: the bucket's name.
        uri: `s3://<bucket>/models`.

    Raises:
        SpecError: a limit of S3 is broken.
    """

    uri: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        keep_old_days: int = 90,
        kms_key: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        spec = ArtifactsSpec(name, keep_old_days=keep_old_days, kms_key=kms_key)
        super().__init__("Artifacts", name, kms_key=spec.kms_key, endpoint=None, opts=opts)
        versioning = aws.s3.BucketVersioning(
            name, bucket=self.bucket, versioning_configuration={"status": "Enabled"}, opts=child(self)
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=self.bucket,
            **bucket_plan.old_versions(spec.keep_old_days),
            opts=child(self, depends_on=[versioning]),
        )
        self.uri = pulumi.Output.format("s3://{0}/models", self.bucket)
        self.register_outputs({"bucket": self.bucket, "uri": self.uri})
