"""IAM policies derived from what a stack uses: pure. `*` stands only where AWS allows nothing narrower."""

from dataclasses import dataclass
from typing import Any

from infra.names import Artifact
from infra.plan import document

Statement = dict[str, Any]


@dataclass(frozen=True)
class Home:
    """Where a stack lives. No NamedTuple: Pulumi's outputs would make a plain tuple of it."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


def trust(home: Home) -> str:
    """Who may assume a model's role: SageMaker, for this account alone (no confused deputy)."""
    return document(
        [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
                "Condition": {"StringEquals": {"aws:SourceAccount": home.account}},
            },
        ]
    )


def model(home: Home, artifact: Artifact, image: str) -> str:
    """What running a model needs: its artifact, its image, its logs and its metrics.

    The artifact's other versions stay readable: while a deployment bakes, and after a rollback, the previous one runs.
    """
    bucket = f"arn:{home.partition}:s3:::{artifact.bucket}"
    versions = artifact.key.replace(artifact.sha256, "*")
    return document(
        [
            _allow("ReadArtifact", ["s3:GetObject"], f"{bucket}/{versions}"),
            _allow("FindArtifact", ["s3:ListBucket"], bucket, {"StringLike": {"s3:prefix": versions}}),
            *_pull(home, image),
            _allow(
                "WriteLogs",
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                home.arn("logs", "log-group:/aws/sagemaker/Endpoints/*"),
            ),
            # PutMetricData knows no resources: the condition is what narrows it.
            _allow(
                "WriteMetrics",
                ["cloudwatch:PutMetricData"],
                "*",
                {"StringEquals": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]}},
            ),
        ]
    )


def _pull(home: Home, image: str) -> list[Statement]:
    """Pulling from ECR, for images that live there."""
    host, _, path = image.partition("/")
    parts = host.split(".")
    if not path or parts[1:3] != ["dkr", "ecr"]:
        return []
    repository = path.partition("@")[0].partition(":")[0]
    arn = f"arn:{home.partition}:ecr:{parts[3]}:{parts[0]}:repository/{repository}"
    return [
        _allow(
            "PullImage", ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], arn
        ),
        _allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], "*"),  # this call knows no resources
    ]


def endpoint(home: Home, *, endpoint_name: str, capture: str | None, kms_key: str | None) -> str:
    """What an endpoint adds to the roles of its models: describing its own alarms, and writing what it captures.

    Args:
        home: where the endpoint lives.
        endpoint_name: the physical name, which all its alarms begin with.
        capture: `<bucket>/<prefix>` of captured records; None: nothing is captured.
        kms_key: ARN of the key that the capture bucket is encrypted with, where one was given.
    """
    statements = [
        _allow(
            "WatchRollbackAlarms", ["cloudwatch:DescribeAlarms"], home.arn("cloudwatch", f"alarm:{endpoint_name}-*")
        ),
    ]
    if capture is not None:
        target = f"arn:{home.partition}:s3:::{capture}/{endpoint_name}/*"
        statements.append(_allow("WriteCapturedRecords", ["s3:PutObject"], target))
    if kms_key is not None:
        statements.append(_allow("EncryptCapturedRecords", ["kms:GenerateDataKey", "kms:Decrypt"], kms_key))
    return document(statements)


def tls_only(bucket_arn: str) -> str:
    """A bucket policy that refuses every call without TLS."""
    return document(
        [
            {
                "Sid": "RefusePlainHttp",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [bucket_arn, f"{bucket_arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ]
    )


def _allow(sid: str, actions: list[str], resource: str, condition: Statement | None = None) -> Statement:
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return statement if condition is None else {**statement, "Condition": condition}
