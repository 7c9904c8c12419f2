"""`python -m training train` or `monitor`: the training container's entry points, and the same with plain options."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from types import FrameType
from typing import NoReturn, TextIO

from training import hosts
from training.config import TrainConfig
from training.errors import TrainingError
from training.events import EpochFinished, Event, StageFinished, TrialAdvanced
from training.hosts import Hosts, Joined
from training.monitor import command as monitoring

MISSED_GATE = 3
END_S = 10.0
"""A run that was told to end has so long to do it in order."""
_TERMINATED = "terminated by SIGTERM"
_signals: list[int] = []
EXAMPLE = """\
example:
  python -m training train --data bikes.csv --target cnt --order dteday,hr \\
      --drop instant,casual,registered --gates 'r2>=0.85' --output models

Without options the run takes its settings as a SageMaker training job gives them: from
/opt/ml/input/config/hyperparameters.json and the channel in /opt/ml/input/data (SAGESTAGE_BASE_DIR
names another place than /opt/ml), and writes /opt/ml/model.

exit codes: 0 trained, 1 failed (the reason is one line), 3 the model missed its gate
"""
HELP = {
    "data": "CSV (also .gz) or Parquet file, or a folder or s3:// prefix of them",
    "target": "column to predict",
    "order": "columns that put the rows in order, comma-separated; without: a random split",
    "group_by": "columns that name the entity (a shop, a sensor) whose rows these are: lags never leave it",
    "drop": "columns that are no inputs",
    "categorical": "columns whose numbers are names",
    "allow_leak": "columns that may give the target away: requests have them",
    "task": "auto, regression or classification",
    "lags": "how many rows back, comma-separated; '' for none",
    "window": "rows of the rolling mean and std; 0 for none",
    "history": "columns to take lags and windows of: auto, none, or names",
    "products": "columns whose products become features: auto, none, or names",
    "missing": "training rows with missing inputs: impute or drop",
    "missing_history": "requests without their earlier rows: impute or reject",
    "hidden": "sizes of the hidden layers, comma-separated",
    "activation": "relu, tanh or silu",
    "patience": "epochs without improvement before training stops",
    "precision": "of the forward pass: float32, or bf16 on GPUs",
    "checkpoint": "folder or s3:// prefix to go on from after an interruption",
    "checkpoint_minutes": "also within an epoch, so often; after each epoch by default",
    "workers": "Ray Train workers, a CPU (or GPU) each",
    "use_gpu": "true or false",
    "validation": "share of the rows for early stopping",
    "test": "share of the rows for the gate",
    "gates": "what the model must reach, such as 'r2>=0.8,mae<=50'",
    "tune": "trials of a search for better settings; 0 for none",
    "champion": "model.tar.gz that is deployed, here or s3://: not to be worse than it on rows new to both",
    "champion_tolerance": "share by which the loss may be higher than the champion's",
    "name": "the model's name",
    "output": "folder for <name>/model.tar.gz",
    "chunk_rows": "rows in memory at once",
    "processes": "that compute features; auto: several for millions of rows",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and return the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    options = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    command = options.pop("command")
    debug = options.pop("debug")
    try:
        if command == "release":
            from training import release  # noqa: PLC0415  # not needed for --help

            return release.run(_say)
        if command == monitoring.JOB or (not options and monitoring.is_job()):
            return monitoring.run(options, _say)
        return _options_run(options) if options else _container_run()
    except TrainingError as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {error}", sys.stderr)
        return 1


def _options_run(options: dict[str, str]) -> int:
    config = TrainConfig.model_validate(options)  # before the imports that take seconds
    from training.run import train  # noqa: PLC0415  # as said

    result = train(config, _show)
    _say(_measured(result.metrics))
    for warning in result.warnings:
        _say(f"warning: {warning}")
    if not result.verdict.passed:
        _say(f"gate: {result.verdict.reason}: not packaged; see {result.report}", sys.stderr)
        return MISSED_GATE
    _say(f"{result.artifact}\nsha256 {result.sha256}\nreport {result.report}")
    return 0


def _container_run() -> int:
    from training import container  # noqa: PLC0415  # not needed for --help
    from training.run import train  # noqa: PLC0415  # likewise

    base = container.base_directory()
    try:
        together, config = container.hosts(base), container.read(base)
        if together.several and not together.leads:
            _say(f"host {together.current} helps {together.names[0]}")
            hosts.follow(together, deadline_s=_deadline_s())
            return 0
        with _leading(together, base) as joined:
            result = train(config, _show, joined)
        container.write_model(base, result)
        _say(_measured(result.metrics))
    except BaseException as error:
        reason = _TERMINATED if _signals else str(error) or type(error).__name__
        container.write_failure(base, reason)
        raise
    if not result.verdict.passed:
        container.write_failure(base, f"gate: {result.verdict.reason}")
        _say(f"gate: {result.verdict.reason}", sys.stderr)
        return MISSED_GATE
    return 0


@contextmanager
def _leading(together: Hosts, base: Path) -> Iterator[Joined | None]:
    """The other hosts of the job, when all of them are there; one that is lost ends the job."""
    if not together.several:
        yield None
        return
    lost: list[str] = []

    def end(reason: str) -> None:
        lost.append(reason)
        _say(f"error: {reason}", sys.stderr)
        os.kill(os.getpid(), signal.SIGUSR1)  # the main thread waits for Ray, which would wait for the host
        sleep(END_S)
        from training import container  # noqa: PLC0415  # as _container_run

        container.write_failure(base, reason)
        container.discard(base)
        lead.stop()
        os._exit(1)  # Ray's client does not answer

    def give_up(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise TrainingError(lost[0])

    signal.signal(signal.SIGUSR1, give_up)
    lead = hosts.Lead(together, end, deadline_s=_deadline_s())
    with lead:
        _say(f"{len(together.names)} hosts are here: {', '.join(together.names)}")
        yield lead.joined


def _deadline_s() -> float:
    """How long to wait for the other hosts: SAGESTAGE_HOSTS_DEADLINE_S, or ten minutes."""
    text = os.environ.get("SAGESTAGE_HOSTS_DEADLINE_S", str(hosts.DEADLINE_S))
    try:
        return float(text)
    except ValueError:
        raise TrainingError(f"SAGESTAGE_HOSTS_DEADLINE_S: {text!r} is not a number of seconds") from None


def _show(event: Event) -> None:
    """A line a stage, and a line an epoch whose figures SageMaker's metric definitions can read."""
    match event:
        case StageFinished(stage, seconds, summary, model):
            _say(f"{stage:<8}{seconds:6.1f} s  {f'{model}: ' if model else ''}{summary}")
        case EpochFinished(model, epoch, _, train_loss, validation_loss):
            _say(f"epoch={epoch} train_loss={train_loss:.6f} validation_loss={validation_loss:.6f} model={model}")
        case TrialAdvanced(model, trial, _, epochs, loss, best, settings):
            _say(f"trial={trial} epochs={epochs} trial_loss={loss:.6f} best={best:.6f} model={model} {settings}")
        case _:
            pass


def _measured(metrics: Mapping[str, float]) -> str:
    """The metrics on the test rows, as metric definitions read them."""
    return " ".join(f"test_{name}={value:.6f}" for name, value in metrics.items())


def _say(line: str, file: TextIO | None = None) -> None:
    print(line, file=file or sys.stdout, flush=True)  # a command's output


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM (spot interruption, a stopped job) ends the run in order: Ray and the run folder go."""
    _signals.append(_signal)  # Ray, if it is waiting, passes an exit on without its text
    raise SystemExit(_TERMINATED)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m training", description=__doc__, epilog=EXAMPLE, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model", epilog=EXAMPLE, formatter_class=form)
    train.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for name, field in TrainConfig.model_fields.items():
        default = "" if field.is_required() else f" (default {_default(field.default)})"
        text = HELP.get(name, name.replace("_", " "))
        train.add_argument(f"--{name.replace('_', '-')}", metavar="X", help=f"{text}{default}".replace("%", "%%"))
    monitoring.add_to(commands, form)
    release = commands.add_parser("release", help="register what a retraining made, by variables of its pipeline")
    release.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "none"
    return "auto" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
