"""Updates and rollbacks under a client at a constant rate: how many requests are lost that no model lost.

`python benchmarks/cloud/soak.py [--rounds 100]`: every second update is of a model that answers late and is rolled back
by its alarm; the others are promoted by canary. Exit code 1 when a request was lost or an update ended otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.cloud_support.caller import RATE, calling
from tests.cloud_support.helpers import Cloud, running

SCALE = 120


def update(cloud: Cloud, name: str, *, late: bool) -> str:
    """One update by canary; the configuration that it was to."""
    model = cloud.model({"SLOW_S": "0.12"} if late else {})
    config = cloud.config([{"ModelName": model, "InitialInstanceCount": 2}])
    dimensions = {"EndpointName": name, "VariantName": "main", "EndpointConfigName": config}
    alarm = cloud.name("late")
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=alarm,
        Namespace="AWS/SageMaker",
        MetricName="ModelLatency",
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        ExtendedStatistic="p50",
        ComparisonOperator="GreaterThanThreshold",
        Threshold=100_000,
        Period=60,
        EvaluationPeriods=2,
        TreatMissingData="notBreaching",
    )
    routing = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
        "WaitIntervalInSeconds": 300,
    }
    cloud.client("sagemaker").update_endpoint(
        EndpointName=name,
        EndpointConfigName=config,
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 0},
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
        },
    )
    return config


def main() -> int:
    """Run the rounds and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    promoted = rolled_back = 0
    odd: list[str] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), time_scale=SCALE) as cloud:
        config = cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}])
        name = cloud.endpoint(config)
        with calling(cloud.client("sagemaker-runtime"), name) as caller:
            for number in range(options.rounds):
                late = number % 2 == 1
                following = update(cloud, name, late=late)
                described = cloud.settle(name)
                promoted += described["EndpointConfigName"] == following
                rolled_back += "ALARM" in described.get("FailureReason", "")
                if (described["EndpointConfigName"] == following) is late:
                    odd.append(f"update {number}: {described.get('FailureReason', 'promoted')}")
                elif not late:
                    config = following
    report = {
        "updates": options.rounds,
        "promoted": promoted,
        "rolled_back_by_alarm": rolled_back,
        "unexpected": odd,
        "requests": caller.answered,
        "requests_a_second_asked": RATE,
        "errors": dict(caller.errors),
        "seconds": round(time.perf_counter() - begin),
        "time_scale": SCALE,
        "processors": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return int(bool(caller.errors or odd))


if __name__ == "__main__":
    sys.exit(main())
