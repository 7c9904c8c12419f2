"""S3: buckets, and the settings of a bucket that are resources of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.provider.aws import Aws
from infra.provider.errors import AwsError
from infra.provider.naming import AutoName
from infra.provider.props import Prop, props
from infra.provider.tagging import Tagging
from infra.provider.types import ResourceType
from infra.provider.values import Properties

DELETE_BATCH = 1000  # DeleteObjects takes no more


@dataclass(frozen=True, kw_only=True)
class BucketTagging(Tagging):
    """A bucket's tags are one document, written and removed as a whole."""

    def update(
        self,
        aws: Aws,
        kind: ResourceType,
        resource_id: str,
        state: Properties,
        olds: Mapping[str, str],
        news: Mapping[str, str],
    ) -> None:
        """Write the new tags over the old ones."""
        target = {"Bucket": resource_id}
        if news:
            pairs = [{"Key": key, "Value": value} for key, value in news.items()]
            kind.call(aws, self.add, target | {"Tagging": {"TagSet": pairs}}, state)
        elif olds:
            kind.call(aws, self.remove, target, state)


@dataclass(frozen=True, kw_only=True)
class BucketType(ResourceType):
    """A bucket says nothing of itself but that it exists; deleting one that has objects must be asked for."""

    def make(self, aws: Aws, inputs: Properties, tags: Mapping[str, str], timeout_s: float) -> str:
        """Create the bucket in its region."""
        del timeout_s
        params = self.request(self.create, inputs)
        region = self._region(aws, inputs)
        if region != "us-east-1":  # the one region that must not be named
            params["CreateBucketConfiguration"] = {"LocationConstraint": region}
        self.call(aws, self.create, params, inputs)
        name = self.identify(inputs)
        if self.tagging is not None:
            self.tagging.update(aws, self, name, inputs, {}, tags)
        return name

    def find(self, aws: Aws, resource_id: str, state: Properties) -> Properties | None:
        """The bucket's names, when it exists."""
        try:
            self.call(aws, self.read, {"Bucket": resource_id}, state)
        except AwsError as error:
            if error.missing:
                return None
            raise
        region = self._region(aws, state)
        return {
            "bucket": resource_id,
            "arn": f"arn:aws:s3:::{resource_id}",
            "bucketDomainName": f"{resource_id}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{resource_id}.s3.{region}.amazonaws.com",
            "bucketRegion": region,
        }

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Delete the bucket, with its objects only under forceDestroy."""
        if state.get("forceDestroy"):
            try:
                self._empty(aws, resource_id, state)
            except AwsError as error:
                if error.missing:
                    return
                raise
        super().end(aws, resource_id, state, timeout_s)

    def _empty(self, aws: Aws, bucket: str, state: Properties) -> None:
        while True:
            listed = self.call(aws, "ListObjectVersions", {"Bucket": bucket, "MaxKeys": DELETE_BATCH}, state)
            found: list[dict[str, Any]] = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
            if not found:
                return
            objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found[:DELETE_BATCH]]
            params = {"Bucket": bucket, "Delete": {"Objects": objects, "Quiet": True}}
            failed = self.call(aws, "DeleteObjects", params, state).get("Errors", [])
            if failed:
                raise AwsError("s3", "DeleteObjects", failed[0]["Code"], f"{bucket}/{failed[0]['Key']}")

    @staticmethod
    def _region(aws: Aws, state: Properties) -> str:
        return str(state.get("region") or aws.settings.region)


def _separate(resource: str) -> Prop:
    return Prop(unsupported=f"declare an aws.s3.{resource} beside the bucket")


BUCKET = BucketType(
    pulumi_type="aws:s3/bucket:Bucket",
    service="s3",
    create="CreateBucket",
    read="HeadBucket",
    delete="DeleteBucket",
    key=("bucket",),
    name=AutoName(property="bucket", limit=63, lower=True),
    tagging=BucketTagging(
        add="PutBucketTagging",
        remove="DeleteBucketTagging",
        list="GetBucketTagging",
        target="Bucket",
        by="id",
        at_creation=False,
    ),
    props=props(
        "bucket!",
        bucketPrefix=Prop(replaces=True, sent=False),
        forceDestroy=Prop(sent=False, default=False),
        objectLockEnabled=Prop(member="ObjectLockEnabledForBucket", replaces=True, computed=True),
        accelerationStatus=_separate("BucketAccelerateConfiguration"),
        acl=_separate("BucketAcl"),
        bucketNamespace=Prop(unsupported="the embedded AWS has global bucket names only", replaces=True),
        corsRules=_separate("BucketCorsConfiguration"),
        grants=_separate("BucketAcl"),
        lifecycleRules=_separate("BucketLifecycleConfiguration"),
        logging=_separate("BucketLogging"),
        objectLockConfiguration=_separate("BucketObjectLockConfiguration"),
        policy=_separate("BucketPolicy"),
        replicationConfiguration=_separate("BucketReplicationConfig"),
        requestPayer=_separate("BucketRequestPaymentConfiguration"),
        serverSideEncryptionConfiguration=_separate("BucketServerSideEncryptionConfiguration"),
        versioning=_separate("BucketVersioning"),
        website=_separate("BucketWebsiteConfiguration"),
    ),
)

ENCRYPTION = ResourceType(
    pulumi_type="aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    service="s3",
    create="PutBucketEncryption",
    read="GetBucketEncryption",
    update="PutBucketEncryption",
    delete="DeleteBucketEncryption",
    key=("bucket",),
    body="ServerSideEncryptionConfiguration",
    found="ServerSideEncryptionConfiguration",
    props=props("bucket!* expectedBucketOwner! rules*"),
)

PUBLIC_ACCESS_BLOCK = ResourceType(
    pulumi_type="aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    service="s3",
    create="PutPublicAccessBlock",
    read="GetPublicAccessBlock",
    update="PutPublicAccessBlock",
    delete="DeletePublicAccessBlock",
    key=("bucket",),
    body="PublicAccessBlockConfiguration",
    found="PublicAccessBlockConfiguration",
    props=props(
        "bucket!*",
        blockPublicAcls=Prop(default=False),
        blockPublicPolicy=Prop(default=False),
        ignorePublicAcls=Prop(default=False),
        restrictPublicBuckets=Prop(default=False),
        skipDestroy=Prop(unsupported="leave it out: `pulumi.ResourceOptions(retain_on_delete=True)` does the same"),
    ),
)

OWNERSHIP = ResourceType(
    pulumi_type="aws:s3/bucketOwnershipControls:BucketOwnershipControls",
    service="s3",
    create="PutBucketOwnershipControls",
    read="GetBucketOwnershipControls",
    update="PutBucketOwnershipControls",
    delete="DeleteBucketOwnershipControls",
    key=("bucket",),
    body="OwnershipControls",
    found="OwnershipControls",
    props=props("bucket!* rule*"),
)

LIFECYCLE = ResourceType(
    pulumi_type="aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    service="s3",
    create="PutBucketLifecycleConfiguration",
    read="GetBucketLifecycleConfiguration",
    update="PutBucketLifecycleConfiguration",
    delete="DeleteBucketLifecycle",
    key=("bucket",),
    body="LifecycleConfiguration",
    props=props(
        "bucket!* expectedBucketOwner! rules",
        transitionDefaultMinimumObjectSize=Prop(computed=True),
        timeouts=Prop(sent=False),
    ),
)

POLICY = ResourceType(
    pulumi_type="aws:s3/bucketPolicy:BucketPolicy",
    service="s3",
    create="PutBucketPolicy",
    read="GetBucketPolicy",
    update="PutBucketPolicy",
    delete="DeleteBucketPolicy",
    key=("bucket",),
    props=props("bucket!*", policy=Prop(json=True, required=True)),
)


@dataclass(frozen=True, kw_only=True)
class VersioningType(ResourceType):
    """Versioning is written as one object, answered without it, and cannot be removed, only suspended."""

    def decoded(self, shape: Any, there: Mapping[str, Any], state: Properties) -> Properties:
        """The answer, put back into the object that a program writes."""
        found = super().decoded(shape, there, state)
        configuration: Properties = {"status": there.get("Status", "Disabled")}
        if there.get("MFADelete"):
            configuration["mfaDelete"] = there["MFADelete"]
        found["versioningConfiguration"] = configuration
        return found

    def end(self, aws: Aws, resource_id: str, state: Properties, timeout_s: float) -> None:
        """Suspend versioning, as the real provider does."""
        del timeout_s
        params = {"Bucket": resource_id, "VersioningConfiguration": {"Status": "Suspended"}}
        try:
            self.call(aws, self.delete, params, state)
        except AwsError as error:
            if not error.missing:
                raise


VERSIONING = VersioningType(
    pulumi_type="aws:s3/bucketVersioning:BucketVersioning",
    service="s3",
    create="PutBucketVersioning",
    read="GetBucketVersioning",
    update="PutBucketVersioning",
    delete="PutBucketVersioning",
    key=("bucket",),
    props=props("bucket!* expectedBucketOwner! versioningConfiguration*", mfa=Prop(member="MFA")),
)

TYPES = (BUCKET, ENCRYPTION, PUBLIC_ACCESS_BLOCK, OWNERSHIP, LIFECYCLE, POLICY, VERSIONING)
