"""Demand forecast: a proven champion, and a challenger on a tenth of the traffic."""

import pulumi

from infra import Alarm, Canary, Capture, Dashboard, Endpoint, Model, Scaling, Topic, Variant

config = pulumi.Config()
image, cuda = config.require("image"), config.get("cuda")
champion = Model("champion", image=image, cuda=cuda, artifact=config.require("champion"))
challenger = Model("challenger", image=image, cuda=cuda, artifact=config.require("challenger"))
alerts = Topic("alerts", emails=config.get_object("emails") or [])

demand = Endpoint(
    "demand",
    variants=[
        Variant(
            "champion",
            champion,
            weight=90,
            instance="ml.c6i.xlarge",
            scaling=Scaling(minimum=2, maximum=10, invocations_per_minute=6_000),
        ),
        Variant("challenger", challenger, weight=10, instances=2, instance="ml.c6i.xlarge"),
    ],
    capture=Capture(percent=20, keep_days=30),
    alarms=[Alarm.p95_latency(above_ms=50), Alarm.server_errors(above_percent=1), Alarm.silence(), Alarm.disk()],
    deploy=Canary(percent=10, bake_minutes=10),  # latency or errors on the new fleet roll it back
    notify=[alerts],
)
Dashboard("demand", demand)
pulumi.export("endpoint", demand.name)
