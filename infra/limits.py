"""SageMaker's documented limits, each with its source.

Enums, patterns and ranges come from botocore's copy of AWS's service model wherever it has the answer; a number that
stands here is one that the model lacks, or that pulumi-aws narrows. A limit is the narrower of the two.
"""

import functools
import re
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from botocore.loaders import Loader

GUARDRAILS = "SageMaker, deployment guardrails"
PULUMI = "pulumi-aws 7"
CLOUDWATCH = "CloudWatch, PutMetricAlarm"


class Bound(NamedTuple):
    """One end of a range, and who says so."""

    value: float
    source: str


@functools.cache
def shape(name: str, service: str = "sagemaker") -> dict[str, Any]:
    """A shape of a service's API as botocore ships it: its type, range, pattern or enum. Reads a file, no network."""
    found: dict[str, Any] = _shapes(service)[name]
    return found


@functools.cache
def _shapes(service: str) -> dict[str, Any]:
    shapes: dict[str, Any] = Loader().load_service_model(service, "service-2")["shapes"]
    return shapes


@dataclass(frozen=True)
class Number:
    """A range: that of SageMaker's API shape, narrowed by what is given here; both ends belong to it."""

    api: str | None = None
    at_least: Bound | None = None
    at_most: Bound | None = None

    def problem(self, value: float) -> str | None:
        """Why the value is out of range, or None: `must be at least 1, got 0 (SageMaker API, InitialTaskCount)`."""
        low, high = self.ends()
        if low is not None and value < low.value:
            return f"must be at least {low.value:.15g}, got {value:.15g} ({low.source})"
        if high is not None and value > high.value:
            return f"must be at most {high.value:.15g}, got {value:.15g} ({high.source})"
        return None

    def ends(self) -> tuple[Bound | None, Bound | None]:
        """The narrowest lower and upper end, with the source of each."""
        known = shape(self.api) if self.api else {}
        source = f"SageMaker API, {self.api}"
        lows = [Bound(known["min"], source)] if "min" in known else []
        highs = [Bound(known["max"], source)] if "max" in known else []
        lows += [self.at_least] if self.at_least else []
        highs += [self.at_most] if self.at_most else []
        return max(lows, default=None), min(highs, default=None)


@dataclass(frozen=True)
class Text:
    """A text with the length and the pattern of SageMaker's API shape; `suffix` characters are kept free.

    Attributes:
        api: the name of the shape.
        suffix: what Pulumi appends when it names a resource by itself (a hyphen and 7 hex digits).
        at_most: a narrower length, where something else sets one.
    """

    api: str
    suffix: int = 0
    at_most: Bound | None = None

    def problem(self, value: str) -> str | None:
        """Why the text is refused, or None."""
        known = shape(self.api)
        if not isinstance(value, str):
            return f"must be text, got {value!r}"
        longest = Bound(known["max"] - self.suffix, f"SageMaker API, {self.api}")
        if self.suffix:
            longest = longest._replace(source=f"{longest.source}, less the {self.suffix} that Pulumi's own naming adds")
        longest = min(filter(None, [longest, self.at_most]))
        if len(value) > longest.value:
            return f"must have at most {longest.value:g} characters, got {len(value)} in {value!r} ({longest.source})"
        if not re.fullmatch(_python(known["pattern"]), value):
            return f"must match {known['pattern']}, got {value!r} (SageMaker API, {self.api})"
        return None


def _python(pattern: str) -> str:
    """A pattern with Java's classes of characters, which AWS's models use, in Python's syntax.

    Python's class of letters has the underscore as well; every pattern that uses these classes lists it anyway.
    """
    for java, python in (
        (r"\p{L}", r"\w"),
        (r"\p{N}", r"\d"),
        (r"\p{Z}", r"\s"),
        (r"\p{M}", ""),
        (r"\p{S}", r"\W"),
        (r"\p{P}", r"\W"),
    ):
        pattern = pattern.replace(java, python)
    return pattern


@dataclass(frozen=True)
class Length:
    """A text of so many characters, wherever the service has no pattern for it."""

    source: str
    at_least: int
    at_most: int

    def problem(self, value: str) -> str | None:
        """Why the text is refused, or None."""
        if self.at_least <= len(value) <= self.at_most:
            return None
        bounds = f"{self.at_least} to {self.at_most} characters"
        return f"must have {bounds}, got {len(value)} in {value!r:.80} ({self.source})"


@dataclass(frozen=True)
class Form:
    """A text of a form that no shape of the API has."""

    pattern: str
    source: str

    def problem(self, value: str) -> str | None:
        """Why the text is refused, or None."""
        if re.fullmatch(self.pattern, value):
            return None
        return f"must match {self.pattern}, got {value!r} ({self.source})"


@dataclass(frozen=True)
class OneOf:
    """A value of an enum of SageMaker's API."""

    api: str

    def problem(self, value: str) -> str | None:
        """Why the value is unknown, with the nearest that are known, or None."""
        known: list[str] = shape(self.api)["enum"]
        if value in known:
            return None
        family = value.rpartition(".")[0]
        near = [name for name in known if name.startswith(f"{family}.")] if family else []
        hint = f"of this family: {', '.join(near)}" if near else f"{len(known)} are known, such as {known[0]}"
        return f"must be one that SageMaker has, got {value!r}; {hint} (SageMaker API, {self.api})"


@dataclass(frozen=True)
class Float32:
    """A number that the service keeps as float32 must survive it, or every later plan replaces the configuration."""

    api: str

    def problem(self, value: float) -> str | None:
        """Why the number does not read back as written, or None."""
        try:
            kept = float(struct.unpack("f", struct.pack("f", value))[0])
        except OverflowError:
            kept = float("inf")
        if kept == value:
            return None
        got = f"{value!r}, which reads back as {kept!r}"
        return f"must be exact in float32, got {got}: use integers (SageMaker API, {self.api})"


Limit = Number | Text | Length | Form | OneOf | Float32

# Names
ENDPOINT_NAME = Text("EndpointName")
CONFIG_PREFIX = Text("EndpointConfigName", suffix=8)
MODEL_PREFIX = Text("ModelName", suffix=8)
VARIANT_NAME = Text("VariantName")
# S3 bucket names: lower case, at most 63 characters; ours end in `-capture` and Pulumi's suffix.
BUCKET_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]{0,46}")
BUCKET_SOURCE = "S3, bucket naming rules: at most 63 characters, of which '-capture' and Pulumi's own naming take 16"

# Models
IMAGE = Text("ContainerImage")
ARTIFACT = Text("Url")
CONTAINERS = Number("ContainerDefinitionList", at_least=Bound(2, "SageMaker: one container is no pipeline"))
CONTAINER_NAME = Text("ContainerHostname")
PACKAGE = re.compile(r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:model-package/[A-Za-z0-9-]{1,63}/[0-9]{1,9}")
ENVIRONMENT_BYTES = Bound(32 * 1024, "SageMaker API, ContainerDefinition: all names and values together")
ENVIRONMENT_NAME = Text("EnvironmentKey")
ENVIRONMENT_VALUE = Text("EnvironmentValue")
ROLE_ARN = Text("RoleArn")

# Registries
GROUP_NAME = Text("EntityName")
DESCRIPTION = Text("EntityDescription")

# Variants
VARIANTS = Number("ProductionVariantList")
WEIGHT = Number("VariantWeight")
WEIGHT_EXACT = Float32("VariantWeight")
INSTANCES = Number("InitialTaskCount")
INSTANCE_TYPE = OneOf("ProductionVariantInstanceType")
STARTUP_S = Number("ProductionVariantContainerStartupHealthCheckTimeoutInSeconds")
AMI = OneOf("ProductionVariantInferenceAmiVersion")
DOWNLOAD_S = Number("ProductionVariantModelDataDownloadTimeoutInSeconds")
# Marketplace and Inf1 models are excluded: SageMaker falls back to all-at-once without baking, and says nothing.
NO_GUARDRAILS = ("ml.inf1.",)
# Burstable instances: Application Auto Scaling refuses to register them.
NO_SCALING = ("ml.t2.",)
SCALING = "SageMaker, automatic scaling of models"

# Hosting without instances of one's own, and by queue
SERVERLESS_MB = Number("ServerlessMemorySizeInMB")
SERVERLESS_STEP_MB = Bound(1024, "SageMaker API, ServerlessMemorySizeInMB")
SERVERLESS_CONCURRENCY = Number("ServerlessMaxConcurrency")
PROVISIONED_CONCURRENCY = Number("ServerlessProvisionedConcurrency")
SERVERLESS = "SageMaker, serverless endpoints"
ASYNC_CONCURRENCY = Number("MaxConcurrentInvocationsPerInstance")
SHADOW = "SageMaker, shadow variants"

# Networks
SUBNETS = Number("Subnets")
SUBNET = Text("SubnetId")
GROUPS = Number("VpcSecurityGroupIds")
GROUP = Text("SecurityGroupId")

# Keys and topics
KMS_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
TOPIC_ARN = Text("SnsTopicArn")
ALARM_ACTIONS = Number(at_most=Bound(5, "CloudWatch, actions of one state of an alarm"))

# Tags: SageMaker takes 50, and the provider's default tags and the components' own are among them.
TAGS = Number(at_most=Bound(40, "SageMaker API, TagList has at most 50, and some are the toolkit's own"))
TAG_KEY = Text("TagKey")
TAG_VALUE = Text("TagValue")

# Scaling
CAPACITY = Number(at_least=Bound(0, "Application Auto Scaling, RegisterScalableTarget"))
NOT_ZERO = Bound(1, "SageMaker: a real-time variant cannot scale to zero")
TARGET_VALUE = Number(at_least=Bound(1, "Application Auto Scaling, TargetValue"))
UTILISATION = Number(
    at_least=Bound(0.1, "SageMaker, provisioned concurrency"), at_most=Bound(1, "SageMaker, provisioned concurrency")
)
SAFETY = Number(
    at_least=Bound(0.01, "SageMaker, load testing for autoscaling"),
    at_most=Bound(1, "SageMaker, load testing for autoscaling"),
)
COOLDOWN_S = Number(at_least=Bound(0, "Application Auto Scaling, Cooldown"))
# The name of a scheduled action: at most 256 characters, of which endpoint and variant take 128; no colon, pipe, slash.
SCHEDULE_NAME = re.compile(r"[^:|/\s]{1,100}")
POLICY_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+")
COMPOSITE_RULE = Number(at_most=Bound(10_240, "CloudWatch, PutCompositeAlarm: characters of the rule"))
SCHEDULE_SOURCE = "Application Auto Scaling, PutScheduledAction"

# Deployment
CANARY_PERCENT = Number("CapacitySizeValue", at_most=Bound(50, GUARDRAILS))
LINEAR_PERCENT = Number(
    "CapacitySizeValue", at_least=Bound(10, f"{GUARDRAILS}, linear"), at_most=Bound(50, f"{GUARDRAILS}, linear")
)
ROLLING_PERCENT = Number(
    "CapacitySizeValue", at_least=Bound(5, f"{GUARDRAILS}, rolling"), at_most=Bound(50, f"{GUARDRAILS}, rolling")
)
STEP_INSTANCES = Number("CapacitySizeValue")
CANARY_INSTANCES = Bound(2, f"{GUARDRAILS}: a step is at most half of a variant's instances")
WAIT_MINUTES = Number(
    at_least=Bound(0, "SageMaker API, WaitIntervalInSeconds"), at_most=Bound(60, "SageMaker API, WaitIntervalInSeconds")
)
WAITS_MINUTES = Bound(45, f"{PULUMI} gives up on an endpoint after 60 minutes and takes a rollback for an error")
MAXIMUM_MINUTES = Number(
    at_least=Bound(10, "SageMaker API, MaximumExecutionTimeoutInSeconds"), at_most=Bound(240, PULUMI)
)
# An alarm needs this long on top of its window: metrics arrive by the minute, and late.
ALARM_SLACK_MINUTES = 2
ROLLBACK_ALARMS = Number("AlarmList")

# Capture
CAPTURE_PERCENT = Number("SamplingPercentage")
KEEP_DAYS = Number(
    at_least=Bound(1, "S3, lifecycle expiration"), at_most=Bound(2_147_483_647, "S3, lifecycle expiration")
)
CONTENT_TYPES = Number("CsvContentTypes")
CONTENT_TYPE = Text("CsvContentType")

# Alarms: 1-minute periods, and no window above one day
ALARM_MINUTES = Number(at_least=Bound(1, CLOUDWATCH), at_most=Bound(1440, CLOUDWATCH))
# A part of an alarm's name, of at most 255 characters: the endpoint's and the variant's take up to 63 each.
ALARM_NAME = Form(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", f"{CLOUDWATCH}, beside the names of endpoint and variant")
METRIC_NAME = Length("CloudWatch, PutMetricAlarm: MetricName", 1, 255)
NAMESPACE = Length("CloudWatch, PutMetricAlarm: Namespace", 1, 255)
DIMENSIONS = Number(at_most=Bound(30, "CloudWatch, PutMetricAlarm: Dimensions"))
DIMENSION_NAME = Length("CloudWatch, Dimension: Name", 1, 255)
DIMENSION_VALUE = Length("CloudWatch, Dimension: Value", 1, 1024)
STATISTIC = re.compile(r"SampleCount|Average|Sum|Minimum|Maximum|p(100|\d{1,2}(\.\d{1,2})?)")
