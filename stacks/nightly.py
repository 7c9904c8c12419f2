"""The forecast off the beaten track: a queue that sleeps when it is empty, and a small endpoint without machines."""

import pulumi

from infra import Alarm, Async, Dashboard, Endpoint, Model, Scaling, Schedule, Serverless, Topic, Variant

config = pulumi.Config()
model = Model("model", image=config.require("image"), cuda=config.get("cuda"), artifact=config.require("champion"))
done, failed = Topic("done"), Topic("failed")

# Whole files, by night: up to 1 GB in, up to an hour each. No instance while the queue is empty.
batches = Endpoint(
    "batches",
    variants=[
        Variant(
            "main",
            model,
            instance="ml.c6i.xlarge",
            scaling=Scaling(
                minimum=0,
                maximum=4,
                backlog_per_instance=5,
                schedule=[
                    Schedule("evening", "cron(45 21 * * ? *)", minimum=1, timezone="Europe/Berlin"),
                    Schedule("morning", "cron(0 6 * * ? *)", minimum=0, timezone="Europe/Berlin"),
                ],
            ),
        )
    ],
    asynchronous=Async(keep_days=14, concurrency=4, success_topic=done, error_topic=failed),
    alarms=[Alarm.backlog(above=50, minutes=15), Alarm.expired()],
    notify=[failed],
)

# A single forecast now and then, by day: paid by the millisecond, one copy kept warm.
lookup = Endpoint(
    "lookup",
    variants=[Variant("main", model, serverless=Serverless(memory_mb=2048, concurrency=20, provisioned=1))],
    alarms=[Alarm.server_errors(above_percent=5), Alarm.client_errors(above_percent=20)],
    notify=[failed],
)

for name, endpoint in (("batches", batches), ("lookup", lookup)):
    Dashboard(name, endpoint)
    pulumi.export(name, endpoint.name)
pulumi.export("queue", batches.input_uri)
