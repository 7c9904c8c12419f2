"""A run: data, fit, training, gate, package; or several models on the same prepared data and one Ray.

with started(champion) as (prepared, cluster):
    results = fit_all(prepared, [champion, challenger], cluster)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from inference.contract.network import NetworkSpec
from training import baselines, champion, gate, jobs, tune
from training import dataset as data
from training.cluster import tasks
from training.config import TrainConfig
from training.errors import TrainingError
from training.events import EpochFinished, OnEvent, Stage, Stages, TrialAdvanced, ignore
from training.hosts import Joined
from training.outcome import Learnt, TrainResult, finish
from training.prepared import Prepared, prepare
from training.ray_train import PrivateRay
from training.tune import Rung, Study

__all__ = ["Prepared", "TrainResult", "fit", "fit_all", "prepare", "train", "tuned"]


def fit(prepared: Prepared, config: TrainConfig, cluster: PrivateRay, on_event: OnEvent = ignore) -> TrainResult:
    """`fit_all` of one model."""
    return fit_all(prepared, [config], cluster, on_event)[0]


def fit_all(
    prepared: Prepared, configs: Sequence[TrainConfig], cluster: PrivateRay, on_event: OnEvent = ignore
) -> list[TrainResult]:
    """Stage train for all models, then gate and package for each, on prepared data.

    Raises:
        ConfigError: a gate is on a metric that the task does not have.
        TrainingError: the settings ask for other data than were prepared, two models have one name, or training failed.
    """
    _check(prepared, configs)
    networks = [jobs.network(prepared, config) for config in configs]
    duels = [None if config.champion is None else champion.challenge(prepared, config.champion) for config in configs]
    with ThreadPoolExecutor(1, "baselines") as beside:
        rivals = beside.submit(_rivals, prepared, cluster)  # this process waits for Ray's workers meanwhile
        models = _train(prepared, configs, networks, cluster, on_event)
        return [
            finish(prepared, config, network, learnt, rivals.result(), duel, on_event)
            for config, network, learnt, duel in zip(configs, networks, models, duels, strict=True)
        ]


def train(config: TrainConfig, on_event: OnEvent = ignore, joined: Joined | None = None) -> TrainResult:
    """One model, from the file to the archive; with the help of other hosts where they have joined.

    Raises:
        TrainingError: one line with what is wrong and what to do about it.
    """
    data.check(config)  # at once, before Ray starts
    with started(config, on_event, joined) as (prepared, ray):
        return fit(prepared, tuned(prepared, config, on_event), ray, on_event)


@contextmanager
def started(
    config: TrainConfig, on_event: OnEvent = ignore, joined: Joined | None = None
) -> Iterator[tuple[Prepared, PrivateRay]]:
    """Prepared data, and the Ray that started meanwhile. Ray ends before the run folder goes: its workers write there.

    Raises:
        TrainingError: one line with what is wrong and what to do about it.
    """
    with ExitStack() as folder, PrivateRay(config.workers, use_gpu=config.use_gpu, joined=joined) as ray:
        if joined is not None:
            ray.ready()
        yield folder.enter_context(prepare(config, on_event, None if joined is None else tasks(joined))), ray


def _rivals(prepared: Prepared, cluster: PrivateRay) -> tuple[baselines.Baseline, ...]:
    cluster.imported()
    return baselines.fit(prepared)


def tuned(prepared: Prepared, config: TrainConfig, on_event: OnEvent = ignore) -> TrainConfig:
    """Stage tune: the settings of the best trial on the validation rows; the same settings where none is asked for.

    Raises:
        TrainingError: no trial ended well.
    """
    if config.tune < 2:  # a single trial would be the run itself
        return config
    with Stages(on_event, config.name).stage(Stage.TUNE) as stage:
        stage.at(f"{config.tune} trials")
        drawn = tune.sample(config.tune, config.seed)
        place = None if config.checkpoint is None else f"{config.checkpoint.rstrip('/')}/trials"
        configs = [config.model_copy(update={**one, "checkpoint": place}) for one in drawn]
        folder = prepared.fit_folder()
        folder.mkdir()
        networks = [jobs.network(prepared, one) for one in configs]
        asked = [
            jobs.job(prepared, one, network, jobs.checkpoint(prepared, one, network, folder / f"trial-{number}"))
            for number, (one, network) in enumerate(zip(configs, networks, strict=True))
        ]
        record = None if config.checkpoint is None else f"{asked[0].checkpoint}.study.json"

        def tell(at: Rung, study: Study) -> None:
            leader = study.leader()
            best = math.inf if leader is None else leader[1]
            settings = " ".join(f"{name}={value}" for name, value in drawn[at.trial].items()) or "(as given)"
            on_event(TrialAdvanced(config.name, at.trial, config.tune, at.epochs, at.loss, best, settings))
            done = len({trial for trial, _ in study.results})
            stage.at(f"{done} of {config.tune} trials, best loss {best:.4f}", done / config.tune)

        number, loss = tune.search(asked, record, tell).best()
        chosen = ", ".join(f"{name} {value}" for name, value in drawn[number].items()) or "the settings as given"
        stage.summary = f"trial {number} of {config.tune} was best, validation loss {loss:.4f}: {chosen}"
    return config.model_copy(update=drawn[number])


def _check(prepared: Prepared, configs: Sequence[TrainConfig]) -> None:
    theirs = prepared.config.preparation()
    for config in configs:
        if odd := [name for name, value in config.preparation().items() if value != theirs[name]]:
            raise TrainingError(
                f"{config.name}: the data were prepared with another {', '.join(odd)}: prepare them again"
            )
        gate.check_task(config.gates, prepared.task)
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise TrainingError(f"two models have one name: {', '.join(names)}: name each of them")


def _train(
    prepared: Prepared,
    configs: Sequence[TrainConfig],
    networks: Sequence[NetworkSpec],
    cluster: PrivateRay,
    on_event: OnEvent,
) -> list[Learnt]:
    heard: list[list[tuple[float, float]]] = [[] for _ in configs]
    with Stages(on_event).stage(Stage.TRAIN) as stage:
        stage.at("starting Ray")
        cluster.ready()
        from training.loop import Epoch  # noqa: PLC0415  # imports torch, as Ray Train has by now

        def tell(number: int, epoch: Epoch) -> None:
            losses = epoch.train_loss, epoch.validation_loss
            if epoch.number <= len(heard[number]):
                return  # workers that were started anew tell of the epochs in their checkpoint
            heard[number].append(losses)
            on_event(EpochFinished(configs[number].name, epoch.number, configs[number].epochs, *losses))

        stage.at("starting workers")
        folder = prepared.fit_folder()
        asked = [
            jobs.job(prepared, config, network, jobs.checkpoint(prepared, config, network, folder))
            for config, network in zip(configs, networks, strict=True)
        ]
        models = cluster.fit(asked, tell, folder=folder)
        stage.summary = "; ".join(
            f"{config.name} {trained.epochs} epochs, the best was {trained.best}"
            for config, trained in zip(configs, models, strict=True)
        )
    return [Learnt(trained, tuple(losses)) for trained, losses in zip(models, heard, strict=True)]
