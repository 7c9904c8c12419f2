"""The stages of a rehearsal, in order: from a file to a live endpoint that answers a real AWS client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.markup import escape

from sagestage import (
    aws,
    captured,
    models,
    output,
    picture,
    pipeline,
    prove,
    report,
    rollouts,
    stackfile,
    targets,
    traffic,
)
from sagestage.deploy import Deployment
from sagestage.errors import GateError, SagestageError
from sagestage.progress import Stages
from sagestage.project import Project

if TYPE_CHECKING:
    from rich.console import Console

    from infra.cloud.control import CloudInfo

REQUEST = "request.json"
CHAMPION, CHALLENGER = "champion", "challenger"
ROWS_OF_ROLLOUTS = 100
HYPERPARAMETERS: Mapping[str, Mapping[str, Any]] = {
    CHAMPION: {"hidden": (64, 32), "learning_rate": 3e-3},
    CHALLENGER: {"hidden": (128, 64, 32), "learning_rate": 2e-3, "weight_decay": 1e-3},
}
"""The two models of the demand program differ in these."""


@dataclass(frozen=True)
class Options:
    """What the rehearsal is asked to do."""

    data: Path | None = None
    target: str | None = None
    order_by: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    allow_leak: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    requests: int = 600
    seed: int = 0
    down: bool = False
    with_rollouts: bool = True
    time_scale: float = rollouts.TIME_SCALE
    prove_alarms: bool = False


@dataclass(frozen=True)
class Deployed:
    """What stands after `up`."""

    cloud: CloudInfo
    uris: Mapping[str, str]
    endpoint: str


def rehearse(project: Project, options: Options, *, as_json: bool = False) -> None:
    """Run every stage and report.

    Raises:
        GateError: a model missed its gate; nothing was deployed.
        SagestageError: a stage failed, or what it claims did not hold.
    """
    console = output.console(as_json=as_json)
    with Stages(console) as stages:
        trained = _train(project, options, stages)
        if missed := [model for model in trained.models if not model.passed]:
            stages.say("")
            console.print(report.gate_table(trained.models))
            raise GateError(report.gate_sentence(missed))
        try:
            deployed = _deploy(project, trained, options, stages)
            sent = _traffic(project, trained, deployed, options.requests, stages)
            capture = _capture(deployed, sent, stages)
            aims = _targets(trained, deployed, sent, stages)
            acts = _rollouts(project, trained, deployed, stages) if options.with_rollouts else []
            proofs = _prove(deployed, stages) if options.prove_alarms else []
        finally:
            if options.down:
                _stop(project, stages)
    if as_json:
        output.print_json(_summary(stages.seconds, trained, deployed, sent, capture, acts) | _findings(aims, proofs))
    else:
        _show(console, stages.seconds, trained, deployed, sent, acts)
        console.print(targets.table_of(aims))
        if proofs:
            console.print(prove.table_of(proofs))
        if not options.down:
            _next_steps(console, deployed)
    if problems := [*_problems(sent, capture, acts), *prove.problems(proofs)]:
        raise SagestageError("; ".join(problems))


def _train(project: Project, options: Options, stages: Stages) -> models.Trained:
    """Data, fit, training, gate and packaging of both models."""
    common = {"seed": options.seed, **_data(project, options, stages)}
    settings = [common | {"name": name} | dict(hyper) for name, hyper in HYPERPARAMETERS.items()]
    return models.train(project, settings, options.gates, stages, default_gates=True)


def _data(project: Project, options: Options, stages: Stages) -> dict[str, Any]:
    """The data's settings: the user's file, or generated demand."""
    if options.data is not None:
        if options.target is None:
            raise SagestageError(f"{options.data}: say which column to predict: --target NAME")
        return {
            "data": options.data,
            "target": options.target,
            "order": options.order_by,
            "drop": options.drop,
            "allow_leak": options.allow_leak,
        }
    if options.target or options.order_by or options.drop:
        raise SagestageError("--target, --order-by and --drop need --data: the generated data has its own")
    from training import demo

    path = project.data / f"demand-{options.seed}.csv"
    demo.write(path, seed=options.seed)
    place = escape(str(path.relative_to(project.root)))
    stages.say(
        f"[dim]No data given: {demo.ROWS:,} rows of hourly demand were generated, seed {options.seed} ({place})[/]"
    )
    return {"data": path, "target": demo.TARGET, "order": demo.ORDER, "drop": ()}


def _deploy(project: Project, trained: models.Trained, options: Options, stages: Stages) -> Deployed:
    """The cloud, the artifacts, the plan and the deployment."""
    from infra.cloud import control

    with stages.stage("cloud") as stage:
        stage.at("starting the embedded AWS")
        cloud = control.start(
            project.cloud, time_scale=options.time_scale if options.with_rollouts or options.prove_alarms else None
        )
        uris = {}
        for model in trained.models:
            stage.at(f"uploading {model.name}")
            uris[model.name] = aws.upload(cloud, *model.kept)
        fast = f", time {cloud.time_scale:g} times faster" if cloud.time_scale != 1 else ""
        stage.summary = f"{cloud.url}, {len(uris)} artifacts in its S3{fast}"
        values = {"url": cloud.url, "region": cloud.region, "image": stackfile.IMAGE, **uris}
        stackfile.write_local(project.root, values)
    with stages.stage("preview") as stage:
        plan = Deployment(project, stackfile.LOCAL, report.follow(stage)).preview()
        stage.summary = report.change_sentence(plan)
    if plan.changed:
        stages.show(report.plan_table(plan))
    with stages.stage("up") as stage:
        result = Deployment(project, stackfile.LOCAL, report.follow(stage)).up()
        stage.summary = report.change_sentence(result)
    return Deployed(cloud, uris, str(result.outputs["endpoint"]))


def _traffic(
    project: Project, trained: models.Trained, deployed: Deployed, requests: int, stages: Stages
) -> traffic.Traffic:
    """Held-out rows by boto3, checked against the offline predictions."""
    sagemaker = aws.client(deployed.cloud, "sagemaker")
    with stages.stage("traffic") as stage:
        total = requests + traffic.TARGETED * len(trained.models)
        instances, expected = trained.held_out(requests)
        _leave_request(project, instances[0])
        endpoint = sagemaker.describe_endpoint(EndpointName=deployed.endpoint)
        sent = traffic.send(
            aws.client(deployed.cloud, "sagemaker-runtime"),
            deployed.endpoint,
            instances,
            expected,
            {variant["VariantName"]: variant["CurrentWeight"] for variant in endpoint["ProductionVariants"]},
            requests=requests,
            on_progress=lambda answered: stage.at(f"{answered} of {total} answered", answered / total),
        )
        stage.summary = f"{total} answers to boto3 ({requests / sent.seconds:,.0f} a second), {_verdict(sent.problems)}"
    return sent


def _capture(deployed: Deployed, sent: traffic.Traffic, stages: Stages) -> captured.Capture | None:
    """The records that were captured of the traffic."""
    with stages.stage("capture") as stage:
        stage.at("reading the capture bucket")
        sagemaker, s3 = aws.client(deployed.cloud, "sagemaker"), aws.client(deployed.cloud, "s3")
        found = captured.check(sagemaker, s3, deployed.endpoint, sent.answers)
        if found is None:
            stage.summary = "off"
        else:
            allowed = f"allowed {found.interval[0]}-{found.interval[1]}"
            stage.summary = f"{found.records} records at {found.percent} % ({allowed}), {_verdict(found.problems)}"
    return found


def _rollouts(project: Project, trained: models.Trained, deployed: Deployed, stages: Stages) -> list[rollouts.Act]:
    """A promotion, broken models, and the way back, with traffic all along."""
    cloud, uris = deployed.cloud, deployed.uris
    values = {"url": cloud.url, "region": cloud.region, "image": stackfile.IMAGE, **uris}
    setting = rollouts.Setting(project, cloud, deployed.endpoint, values, trained.held_out(ROWS_OF_ROLLOUTS)[0])
    archive = next(model.kept[0] for model in trained.models if model.name == CHAMPION)
    return rollouts.play(setting, uris[CHALLENGER], archive, stages)


def _targets(
    trained: models.Trained, deployed: Deployed, sent: traffic.Traffic, stages: Stages
) -> list[targets.Target]:
    """What was aimed at beside what this machine gives."""
    import httpx

    with stages.stage("targets") as stage:
        stage.at("asking one instance, then the front, as fast as they answer")
        body = orjson.dumps({"instances": trained.held_out(1)[0]})
        status = httpx.get(f"{deployed.cloud.url}/_sagestage/status").json()
        seen = [milliseconds for one in sent.variants.values() for milliseconds in one.milliseconds]
        found = [
            *targets.measure(status, deployed.cloud.url, deployed.endpoint, body, seen),
            *pipeline.measure(stage.at),
            *targets.quality(trained.models),
        ]
        stage.summary = f"{sum(one.met is True for one in found)} met, {sum(one.met is False for one in found)} missed"
    return found


def _prove(deployed: Deployed, stages: Stages) -> list[prove.Proof]:
    """Every alarm fires and recovers."""
    with stages.stage("alarms") as stage:
        cloudwatch = aws.client(deployed.cloud, "cloudwatch")
        proofs = prove.prove(cloudwatch, f"{deployed.endpoint}-", deployed.cloud.time_scale, on_progress=stage.at)
        stage.summary = f"{sum(proof.alive for proof in proofs)} of {len(proofs)} fire and recover"
    return proofs


def _findings(aims: Sequence[targets.Target], proofs: Sequence[prove.Proof]) -> dict[str, Any]:
    return {
        "targets": [asdict(aim) for aim in aims],
        "alarms": {proof.name: {"alive": proof.alive, "states": proof.reached} for proof in proofs},
    }


def _leave_request(project: Project, instance: Any) -> None:
    """A request to play with, where the report says that it is."""
    (project.home / REQUEST).write_bytes(orjson.dumps({"instances": [instance]}, option=orjson.OPT_INDENT_2))


def _stop(project: Project, stages: Stages) -> None:
    from infra.cloud import control

    with stages.stage("down") as stage:
        control.stop(project.cloud)
        stage.summary = "the cloud and its endpoints are stopped"


def _verdict(problems: tuple[str, ...]) -> str:
    return "all as predicted offline" if not problems else f"{len(problems)} problems"


def _problems(sent: traffic.Traffic, capture: captured.Capture | None, acts: Sequence[rollouts.Act] = ()) -> list[str]:
    rolled = [f"rollout {act.name}: {problem}" for act in acts for problem in act.problems]
    return [*sent.problems, *(capture.problems if capture else ()), *rolled]


def _show(
    console: Console,
    seconds: Mapping[str, float],
    trained: models.Trained,
    deployed: Deployed,
    sent: traffic.Traffic,
    acts: Sequence[rollouts.Act],
) -> None:
    """The report's tables."""
    console.print()
    console.print(report.stages_table(seconds))
    console.print(report.metrics_table(trained.models))
    console.print(report.variants_table(sent.variants, sent.requests))
    if acts:
        console.print(picture.rollouts_table(acts, deployed.cloud.time_scale))
        for line in picture.reasons(acts):
            console.print(line, highlight=False, soft_wrap=True)
        console.print()


def _next_steps(console: Console, deployed: Deployed) -> None:
    """How to go on with what stands."""
    us = escape(output.command())
    console.print()
    for line in (
        f"Endpoint [bold]{escape(deployed.endpoint)}[/] answers at {deployed.cloud.url}",
        "",
        f"  call it   {us} invoke --data .sagestage/request.json",
        f'            eval "$({us} cloud env)" && {us.replace("sagestage", "aws")} sagemaker list-endpoints',
        f"  look      {us} status",
        f"  change    edit stacks/demand.py, then: {us} preview && {us} up",
        f"  stop      {us} cloud stop",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _summary(
    seconds: Mapping[str, float],
    trained: models.Trained,
    deployed: Deployed,
    sent: traffic.Traffic,
    capture: captured.Capture | None,
    acts: Sequence[rollouts.Act],
) -> dict[str, Any]:
    """The report as one JSON object."""
    return {
        "stages": dict(seconds),
        "metrics": {model.name: model.result.metrics for model in trained.models},
        "rows": dict(trained.rows),
        "warnings": list(trained.warnings),
        "endpoint": deployed.endpoint,
        "url": deployed.cloud.url,
        "variants": {
            name: {
                "weight": one.weight,
                "requests": one.requests,
                "interval": list(one.interval),
                "latency_ms": {f"p{percent}": one.latency(percent) for percent in (50, 95, 99)},
            }
            for name, one in sent.variants.items()
        },
        "capture": None
        if capture is None
        else {"uri": capture.uri, "records": capture.records, "interval": list(capture.interval)},
        "artifacts": {
            model.name: {
                "path": str(model.archive),
                "uri": deployed.uris[model.name],
                "sha256": model.result.sha256,
            }
            for model in trained.models
        },
        "rollouts": [act.to_json() for act in acts],
        "time_scale": deployed.cloud.time_scale,
        "problems": _problems(sent, capture, acts),
    }
