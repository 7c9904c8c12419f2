"""The demand forecast, watched: captured traffic is held against the training rows, and drift trains a new model."""

import pulumi

from infra import (
    Alarm,
    Canary,
    Capture,
    Endpoint,
    Model,
    Monitor,
    Quality,
    Registry,
    Retraining,
    Topic,
    Variant,
)

config = pulumi.Config()
champion = Model(
    "champion", image=config.require("image"), cuda=config.get("cuda"), artifact=config.require("champion")
)
alerts = Topic("alerts", emails=config.get_object("emails") or [])
versions = Registry("forecasts", description="demand forecasts, one version a training")

demand = Endpoint(
    "demand",
    variants=[Variant("champion", champion, instances=2, instance="ml.c6i.xlarge")],
    capture=Capture(percent=100, keep_days=30),
    alarms=[Alarm.p95_latency(above_ms=50), Alarm.server_errors(above_percent=1)],
    deploy=Canary(percent=50, bake_minutes=10, maximum_minutes=240),
    notify=[alerts],
)
watch = Monitor(
    "watch",
    demand,
    image=config.require("trainImage"),
    quality=Quality(config.require("labels"), r2_below=0.7),
    retraining=Retraining(
        config.require("newest"),
        versions,
        hyperparameters={
            "target": config.require("target"),
            "order": config.get("order") or "",
            "gates": config.get("gate") or "",
            "epochs": config.get("epochs") or "60",
            "name": "champion",
        },
        rollout="canary",
    ),
    notify=[alerts],
)
pulumi.export("endpoint", demand.name)
pulumi.export("schedule", watch.name)
pulumi.export("reports", watch.reports_uri)
pulumi.export("retraining", watch.pipeline_name)
