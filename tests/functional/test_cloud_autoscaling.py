"""Policies and schedules move the processes of a live variant."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cloud_support.caller import calling
from tests.cloud_support.helpers import eventually, running


def test_load_scales_a_variant_out_and_a_schedule_moves_its_bounds(tmp_path: Path) -> None:
    with running(tmp_path, time_scale=120, max_instances=3) as cloud:
        name = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
        scaling = cloud.client("application-autoscaling")
        target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{name}/variant/main",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
        scaling.put_scaling_policy(
            **target,
            PolicyName="track",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                # 60 requests a second are 30 in a minute that lasts half a second.
                "TargetValue": 8.0,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
                "ScaleInCooldown": 36_000,
            },
        )

        def count() -> int:
            (variant,) = cloud.client("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
            return int(variant["DesiredInstanceCount"])

        with calling(cloud.client("sagemaker-runtime"), name) as caller:
            eventually(count, lambda found: found == 3)
            eventually(lambda: cloud.processes(name)["main"], lambda pids: len(pids) == 3)
        assert caller.errors == {}
        moment = datetime.now(UTC) + timedelta(seconds=1)
        scaling.put_scheduled_action(
            **target,
            ScheduledActionName="night",
            Schedule=f"at({moment:%Y-%m-%dT%H:%M:%S})",
            ScalableTargetAction={"MinCapacity": 1, "MaxCapacity": 1},
        )
        eventually(count, lambda found: found == 1)
        eventually(lambda: cloud.processes(name)["main"], lambda pids: len(pids) == 1)
