"""IAM policies derived from what a stack uses: pure. `*` stands only where AWS allows nothing narrower."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra import names
from infra.plan import CAPTURE_PREFIX, FAILURE_PREFIX, INPUT_PREFIX, OUTPUT_PREFIX, document

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


@dataclass(frozen=True)
class Contents:
    """What one container of a model is made of. Plain texts: outputs of other resources are known by now.

    Attributes:
        image: the image, where one is named.
        artifact: the S3 address of an archive, or of the prefix that many archives lie under.
        many: whether it is a prefix.
    """

    image: str | None
    artifact: str | None
    many: bool = False


def model(home: Home, containers: Sequence[Contents], *, network: bool = False, package: str | None = None) -> str:
    """What running a model needs: its artifacts, its images, its logs and metrics, its place in a VPC.

    An artifact's other versions stay readable: while a deployment bakes, and after a rollback, the previous one runs.
    """
    statements = [
        *_read(home, containers),
        *pull(home, [one.image for one in containers if one.image]),
        *report(home, ["/aws/sagemaker/Endpoints/*"], ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]),
        *(vpc(home) if network else []),
    ]
    if package is not None:
        statements.append(allow("ReadPackage", ["sagemaker:DescribeModelPackage"], package))
    return document(statements)


def report(home: Home, log_groups: Sequence[str], namespaces: Sequence[str]) -> list[Statement]:
    """Writing logs of these groups and metrics of these namespaces."""
    return [
        allow(
            "WriteLogs",
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            _brief([home.arn("logs", f"log-group:{group}") for group in log_groups]),
        ),
        # PutMetricData knows no resources: the condition is what narrows it.
        allow(
            "WriteMetrics",
            ["cloudwatch:PutMetricData"],
            "*",
            {"StringEquals": {"cloudwatch:namespace": _brief(namespaces)}},
        ),
    ]


def _brief(values: Sequence[str]) -> str | list[str]:
    """A single value stands by itself in a policy."""
    return values[0] if len(values) == 1 else list(values)


def _read(home: Home, containers: Iterable[Contents]) -> Iterator[Statement]:
    found = [_place(one) for one in containers if one.artifact is not None]
    if not found:
        return
    buckets = sorted({bucket for bucket, _ in found})
    keys = sorted({f"arn:{home.partition}:s3:::{bucket}/{key}" for bucket, key in found})
    yield allow("ReadArtifact", ["s3:GetObject"], _brief(keys))
    for number, bucket in enumerate(buckets):
        within = sorted({key for owner, key in found if owner == bucket})
        yield allow(
            f"FindArtifact{number or ''}",
            ["s3:ListBucket"],
            f"arn:{home.partition}:s3:::{bucket}",
            {"StringLike": {"s3:prefix": _brief(within)}},
        )


def _place(one: Contents) -> tuple[str, str]:
    """Bucket and key of what a container reads; `*` stands for the version, or for the archives of a prefix."""
    if one.many:
        bucket, _, prefix = (one.artifact or "").removeprefix("s3://").partition("/")
        return bucket, f"{prefix}*"
    found = names.artifact(one.artifact or "")
    return found.bucket, found.key.replace(found.sha256, "*")


def vpc(home: Home) -> list[Statement]:
    """Network interfaces in the model's subnets. EC2's describing calls know no resources.

    Source: SageMaker, roles, CreateModel with a VPC.
    """
    places = ("network-interface", "subnet", "security-group")
    return [
        allow(
            "MakeInterfaces",
            [
                "ec2:CreateNetworkInterface",
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            [home.arn("ec2", f"{place}/*") for place in places],
        ),
        allow(
            "SeeNetwork",
            [
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ],
            "*",
        ),
    ]


def pull(home: Home, images: Iterable[str]) -> list[Statement]:
    """Pulling from ECR, for images that live there."""
    arns = sorted({arn for image in images if (arn := _repository(home, image)) is not None})
    if not arns:
        return []
    actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    return [
        allow("PullImage", actions, _brief(arns)),
        allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], "*"),  # this call knows no resources
    ]


def _repository(home: Home, image: str) -> str | None:
    host, _, path = image.partition("/")
    parts = host.split(".")
    if not path or parts[1:3] != ["dkr", "ecr"]:
        return None
    name = path.partition("@")[0].partition(":")[0]
    return f"arn:{home.partition}:ecr:{parts[3]}:{parts[0]}:repository/{name}"


@dataclass(frozen=True)
class Uses:
    """What an endpoint makes its models' roles do. Plain texts, all known by now.

    Attributes:
        endpoint_name: the physical name, which all its alarms begin with.
        capture: bucket of captured records; None: nothing is captured.
        queue: bucket of an asynchronous endpoint's requests and answers; None: it has none.
        keys: ARNs of KMS keys that records, answers and buckets are encrypted with.
        volume_key: ARN of the KMS key of the instances' volumes.
        topics: ARNs of topics that hear of asynchronous answers.
        guarded: whether deployments watch alarms.
    """

    endpoint_name: str
    capture: str | None = None
    queue: str | None = None
    keys: tuple[str, ...] = ()
    volume_key: str | None = None
    topics: tuple[str, ...] = ()
    guarded: bool = True


def endpoint(home: Home, uses: Uses) -> str:
    """What an endpoint adds to the roles of its models, and nothing more."""
    s3 = f"arn:{home.partition}:s3:::"
    statements: list[Statement] = []
    if uses.guarded:
        alarms = home.arn("cloudwatch", f"alarm:{uses.endpoint_name}-*")
        statements.append(allow("WatchRollbackAlarms", ["cloudwatch:DescribeAlarms"], alarms))
    if uses.capture is not None:
        target = f"{s3}{uses.capture}/{CAPTURE_PREFIX}/{uses.endpoint_name}/*"
        statements.append(allow("WriteCapturedRecords", ["s3:PutObject"], target))
    if uses.queue is not None:
        statements += [
            allow("ReadRequests", ["s3:GetObject"], f"{s3}{uses.queue}/{INPUT_PREFIX}/*"),
            allow(
                "WriteAnswers",
                ["s3:PutObject"],
                [f"{s3}{uses.queue}/{prefix}/*" for prefix in (OUTPUT_PREFIX, FAILURE_PREFIX)],
            ),
        ]
    if uses.keys:
        statements.append(allow("UseKeys", ["kms:GenerateDataKey", "kms:Decrypt"], list(uses.keys)))
    if uses.volume_key is not None:
        statements += [
            allow("SeeVolumeKey", ["kms:DescribeKey"], uses.volume_key),
            allow(
                "EncryptVolumes",
                ["kms:CreateGrant"],
                uses.volume_key,
                {"Bool": {"kms:GrantIsForAWSResource": "true"}},
            ),
        ]
    if uses.topics:
        statements.append(allow("TellOfAnswers", ["sns:Publish"], list(uses.topics)))
    return document(statements)


def publishers(topic_arn: str, account: str, services: Mapping[str, str]) -> str:
    """A topic's policy: these AWS services may publish for this account; its own users need no resource policy.

    Args:
        topic_arn: the topic.
        account: whose alarms and jobs may publish: no other account's, though they are the same service.
        services: statement's name to service, such as {"Alarms": "cloudwatch.amazonaws.com"}.
    """
    return document(
        [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }
            for sid, service in services.items()
        ]
    )


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


def allow(sid: str, actions: list[str], resource: str | list[str], condition: Statement | None = None) -> Statement:
    """A statement that allows these actions on these ARNs."""
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return statement if condition is None else {**statement, "Condition": condition}
