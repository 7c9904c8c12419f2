"""The bucket that an endpoint's captured records go to."""

import pulumi
import pulumi_aws as aws

from infra import plan, policies
from infra.spec import Capture
from infra.surroundings import child, is_local, tags


class CaptureBucket(pulumi.ComponentResource):
    """A bucket of the endpoint's own: encrypted, closed to the public, TLS only, with an end for every record.

    Attributes:
        bucket: the bucket's name.
        uri: where SageMaker writes, `s3://<bucket>/capture`.
        secured: what must be in place before the first record is written.
    """

    bucket: pulumi.Output[str]
    uri: pulumi.Output[str]
    secured: list[pulumi.Resource]

    def __init__(self, name: str, capture: Capture, endpoint_name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__("sagestage:index:CaptureBucket", name, None, opts)
        # Captured records are data: only a rehearsal throws them away with the bucket.
        bucket = aws.s3.Bucket(name, force_destroy=is_local(), tags=tags(endpoint_name), opts=child(self))
        own = child(self)
        access = aws.s3.BucketPublicAccessBlock(name, bucket=bucket.id, **plan.BLOCKED, opts=own)
        self.secured = [
            access,
            aws.s3.BucketOwnershipControls(
                name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=own
            ),
            aws.s3.BucketServerSideEncryptionConfiguration(
                name, bucket=bucket.id, **plan.bucket_encryption(capture), opts=own
            ),
            aws.s3.BucketLifecycleConfiguration(name, bucket=bucket.id, **plan.bucket_lifecycle(capture), opts=own),
            # S3 refuses concurrent changes of a bucket's policy and its public access block.
            aws.s3.BucketPolicy(
                name,
                bucket=bucket.id,
                policy=bucket.arn.apply(policies.tls_only),
                opts=child(self, depends_on=[access]),
            ),
        ]
        self.bucket = bucket.id
        self.uri = pulumi.Output.format("s3://{0}/{1}", bucket.id, plan.CAPTURE_PREFIX)
        self.register_outputs({"bucket": self.bucket, "uri": self.uri})
