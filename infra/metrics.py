"""What CloudWatch holds of an endpoint, and what the hardware behind it makes of a percentage.

Sources: SageMaker's pages on CloudWatch metrics, asynchronous and serverless endpoints; EC2's on instance types.
"""

import re
from dataclasses import dataclass
from typing import Literal

Hosting = Literal["instance", "serverless", "async"]
Unit = Literal[
    "microseconds", "requests", "per request", "percent", "percent of one core", "percent of one GPU", "seconds"
]

INVOCATION_METRICS = "AWS/SageMaker"
INSTANCE_METRICS = "/aws/sagemaker/Endpoints"
SOURCE = "SageMaker, CloudWatch metrics"
ASYNC_SOURCE = "SageMaker, metrics of asynchronous endpoints"
SERVERLESS_SOURCE = "SageMaker, metrics of serverless endpoints"

_ANY: tuple[Hosting, ...] = ("instance", "serverless", "async")
_DIRECT: tuple[Hosting, ...] = ("instance", "serverless")
_MACHINES: tuple[Hosting, ...] = ("instance", "async")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What CloudWatch holds under a name that AWS publishes for an endpoint.

    Attributes:
        unit: the unit of its values.
        namespace: the namespace that it is published in.
        highest: no value is above this, whatever the statistic of single values (Average, percentiles, Maximum).
        statistics: the statistics that mean something; empty: all.
        adds_up_over: values add up over the instance's cores or GPUs: `highest` is that of one.
        hosting: the kinds of hosting that publish it.
        by_variant: False: it is published for the endpoint as a whole, with no VariantName.
    """

    unit: Unit
    namespace: str = INVOCATION_METRICS
    highest: float | None = None
    statistics: tuple[str, ...] = ()
    adds_up_over: Literal["", "cores", "gpus"] = ""
    hosting: tuple[Hosting, ...] = _ANY
    by_variant: bool = True


# InvokeEndpoint gives a model 60 s, and a queued request an hour: a higher latency is never measured.
METRICS = {
    "ModelLatency": Metric(unit="microseconds", highest=3_600_000_000),
    "OverheadLatency": Metric(unit="microseconds", hosting=_DIRECT),
    "ModelSetupTime": Metric(unit="microseconds", hosting=("serverless",)),
    "Invocations": Metric(unit="requests", statistics=("Sum",), hosting=_DIRECT),
    "InvocationsPerInstance": Metric(unit="requests", statistics=("Sum",), hosting=("instance",)),
    "Invocation4XXErrors": Metric(unit="per request", highest=1),
    "Invocation5XXErrors": Metric(unit="per request", highest=1),
    "CPUUtilization": Metric(
        unit="percent of one core", namespace=INSTANCE_METRICS, highest=100, adds_up_over="cores", hosting=_MACHINES
    ),
    "MemoryUtilization": Metric(unit="percent", namespace=INSTANCE_METRICS, highest=100),
    "DiskUtilization": Metric(unit="percent", namespace=INSTANCE_METRICS, highest=100, hosting=_MACHINES),
    "GPUUtilization": Metric(
        unit="percent of one GPU", namespace=INSTANCE_METRICS, highest=100, adds_up_over="gpus", hosting=_MACHINES
    ),
    "GPUMemoryUtilization": Metric(
        unit="percent of one GPU", namespace=INSTANCE_METRICS, highest=100, adds_up_over="gpus", hosting=_MACHINES
    ),
    "ApproximateBacklogSize": Metric(unit="requests", hosting=("async",), by_variant=False),
    "ApproximateBacklogSizePerInstance": Metric(unit="requests", hosting=("async",), by_variant=False),
    "HasBacklogWithoutCapacity": Metric(unit="per request", highest=1, hosting=("async",), by_variant=False),
    "ExpiredRequests": Metric(unit="requests", statistics=("Sum",), hosting=("async",), by_variant=False),
}
REAL_TIME_LATENCY_US = 60_000_000

# EC2: an xlarge has 4 vCPUs and an Nxlarge N times as many, with these exceptions.
_CORES = {"medium": 1, "large": 2, "xlarge": 4}
_ODD_CORES = {"ml.c4.8xlarge": 36, "ml.t2.medium": 2}


def cores(instance_type: str) -> int:
    """The vCPUs of an instance type, such as 4 for ml.c6i.xlarge."""
    size = instance_type.rpartition(".")[2]
    return _ODD_CORES.get(instance_type) or _CORES.get(size) or 4 * int(size.removesuffix("xlarge"))


_G_SIZES = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_GPUS: dict[str, dict[str, int]] = {
    "p2": {"xlarge": 1, "8xlarge": 8, "16xlarge": 16},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "g4dn": {"12xlarge": 4},
    "g5": _G_SIZES,
    "g6": _G_SIZES,
    "g6e": _G_SIZES,
    "g7e": {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "p6-b300": {"48xlarge": 8},
    "p6e-gb200": {"36xlarge": 4},
}
_UNSURE = ("g7",)


def gpus(instance_type: str) -> int | None:
    """The GPUs of an instance type, such as 4 for ml.g5.12xlarge; 0: it has none; None: not known to this version."""
    family, _, size = instance_type.removeprefix("ml.").partition(".")
    if family in _UNSURE:
        return None
    return _GPUS[family].get(size, 1) if family in _GPUS else 0


_LOCAL_DISKS = re.compile(
    r"ml\.([a-z]+\d+[a-z]*d[a-z]*|g\d+[a-z]*|p[3-9]d[a-z]*|p[4-9][a-z0-9-]*|dl1|trn\d+[a-z]*)\..*"
)


def has_local_storage(instance_type: str) -> bool:
    """Whether the instance has disks of its own, encrypted by hardware: SageMaker then takes no volume key."""
    return _LOCAL_DISKS.fullmatch(instance_type) is not None
