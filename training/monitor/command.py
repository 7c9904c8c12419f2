"""`python -m training monitor`: a window by options, or as a SageMaker monitoring job gives it.

A monitoring job (its container contract, in SageMaker's developer guide) gives `dataset_source` (where the captured
files of the window were put), `output_path`, `start_time`, `end_time`, `sagemaker_endpoint_name` and
`publish_cloudwatch_metrics` as variables. Ours are in the job definition's environment:

SAGESTAGE_JOB=monitor         this job, in the image that trains otherwise
SAGESTAGE_BASELINES           {"variant": "s3://…/drift.json or model.tar.gz beside it"}
SAGESTAGE_CAPTURE_URI         where capture writes, for labels that are late
SAGESTAGE_GROUND_TRUTH        where labels are
SAGESTAGE_TRUTH_DELAY_S       how much earlier than the window the judged records lie
SAGESTAGE_SEGMENT             a column to tell quality apart by
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from training.errors import ConfigError, TrainingError

JOB_VARIABLE, JOB = "SAGESTAGE_JOB", "monitor"
BASELINES, CAPTURE_URI = "SAGESTAGE_BASELINES", "SAGESTAGE_CAPTURE_URI"
TRUTH, TRUTH_DELAY, SEGMENT = "SAGESTAGE_GROUND_TRUTH", "SAGESTAGE_TRUTH_DELAY_S", "SAGESTAGE_SEGMENT"
MESSAGE = "output/message"
MESSAGE_CHARACTERS = 1_024
DRIFTED = 4
Say = Callable[[str], None]


def is_job() -> bool:
    """Whether SageMaker (or the embedded cloud) started this process as a monitoring job."""
    return os.environ.get(JOB_VARIABLE) == JOB


def add_to(commands: Any, form: Any) -> None:
    """The subcommand and its options."""
    parser = commands.add_parser("monitor", help="hold captured traffic against the training rows",
                                 description=__doc__, formatter_class=form)  # fmt: skip
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--endpoint", metavar="NAME", help="the endpoint's name")
    parser.add_argument("--captured", metavar="URI", help="folder or s3:// prefix with a folder for each variant")
    parser.add_argument(
        "--baseline", metavar="[VARIANT=]URI", action="append", help="drift.json, or the model beside it"
    )
    parser.add_argument("--window", metavar="1h", default="1h", help="how far back from the end (default 1h)")
    parser.add_argument("--end", metavar="TIME", help="the end of the window, ISO 8601 (default now)")
    parser.add_argument("--output", metavar="URI", help="folder or s3:// prefix for the report and the documents")
    parser.add_argument("--ground-truth", metavar="URI", help="folder or s3:// prefix of labels")
    parser.add_argument("--truth-delay", metavar="1d", help="judge records that are so much older: labels are late")
    parser.add_argument("--segment", metavar="COLUMN", help="tell quality apart by this column's values")
    parser.add_argument("--readers", metavar="N", type=int, help="processes (default: as many as suit)")
    parser.add_argument("--publish", action="store_true", help="put the metrics into CloudWatch")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Mapping[str, Any], say: Say) -> int:
    """A window by options; exit code 4 when columns drifted.

    Raises:
        TrainingError: one line with what is wrong.
    """
    if not (options.get("endpoint") and options.get("captured") and options.get("baseline")):
        return _job(say)
    from training.monitor import job, window  # noqa: PLC0415  # not needed for --help

    end = datetime.now(UTC) if options.get("end") is None else window.moment(options["end"])
    delay = options.get("truth_delay")
    settings = job.Settings(
        endpoint=options["endpoint"],
        captured=options["captured"],
        baselines=dict(_pair(text) for text in options["baseline"]),
        window=window.Window(end - timedelta(seconds=window.seconds(options.get("window", "1h"))), end),
        output=options.get("output"),
        truth=options.get("ground_truth"),
        truth_delay_s=window.seconds(delay) if delay else 0.0,
        segment=options.get("segment"),
        readers=_readers(options.get("readers")),
    )
    return _finish(settings, say, publishes=bool(options.get("publish")), as_json=bool(options.get("json")))


def _job(say: Say) -> int:
    """As a monitoring job."""
    from training import container  # noqa: PLC0415  # not needed for --help

    base = container.base_directory()
    if not is_job() and not os.environ.get("dataset_source"):  # noqa: SIM112  # SageMaker's spelling
        raise ConfigError(["give --endpoint, --captured and --baseline; or the variables of a monitoring job"])
    try:
        settings = from_environment(os.environ)
        publishes = os.environ.get("publish_cloudwatch_metrics", "Enabled") == "Enabled"  # noqa: SIM112  # likewise
        code = _finish(settings, say, publishes=publishes, as_json=False)
    except TrainingError as error:
        _message(base, str(error))
        raise
    _message(base, "Completed" if code == 0 else "CompletedWithViolations: columns drifted")
    return 0


def from_environment(environment: Mapping[str, str]) -> Any:
    """The settings of a monitoring job.

    Raises:
        ConfigError: variables are missing or wrong; names them all.
    """
    from training.monitor import job, window  # noqa: PLC0415  # not needed for --help

    needed = ("dataset_source", "output_path", "start_time", "end_time", "sagemaker_endpoint_name", BASELINES)
    if missing := [name for name in needed if not environment.get(name)]:
        raise ConfigError([f"the monitoring job lacks the variable {name}" for name in missing])
    try:
        baselines = orjson.loads(environment[BASELINES])
    except orjson.JSONDecodeError:
        baselines = None
    if not isinstance(baselines, dict) or not all(isinstance(place, str) for place in baselines.values()):
        raise ConfigError([f"{BASELINES} must be an object of variants and places, got {environment[BASELINES]!r}"])
    endpoint = environment["sagemaker_endpoint_name"]
    delay = float(environment.get(TRUTH_DELAY) or 0.0)
    local = Path(environment["dataset_source"])
    nested = local / endpoint  # SageMaker keeps the endpoint's folder below the local path
    captured = str(nested if nested.is_dir() else local)
    if delay and environment.get(CAPTURE_URI):  # what is judged lies before what SageMaker brought here
        captured = f"{environment[CAPTURE_URI].rstrip('/')}/{endpoint}"
    return job.Settings(
        endpoint=endpoint,
        captured=captured,
        baselines=baselines,
        window=window.Window(window.moment(environment["start_time"]), window.moment(environment["end_time"])),
        output=environment["output_path"],
        truth=environment.get(TRUTH) or None,
        truth_delay_s=delay,
        segment=environment.get(SEGMENT) or None,
    )


def _finish(settings: Any, say: Say, *, publishes: bool, as_json: bool) -> int:
    from training.monitor import documents, job, publishing  # noqa: PLC0415  # not needed for --help

    outcome = job.run(settings)
    if publishes:
        publishing.publish(settings.endpoint, outcome.metrics, datetime.now(UTC))
    if as_json:
        say(orjson.dumps(documents.summary(outcome), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(outcome):
            say(line)
    return DRIFTED if any(one.drifted for one in outcome.findings) else 0


def _lines(outcome: Any) -> list[str]:
    lines = [f"{outcome.settings.endpoint}, {outcome.settings.window}, {outcome.files} files"]
    for variant, metrics in outcome.metrics.items():
        lines.append(f"{variant}: " + " ".join(f"{name}={value:.6g}" for name, value in metrics.items()))
    for one in outcome.findings:
        lines += [
            f"{one.variant}: {column.scale.name} drifted: index {column.index:.3f}, at most {column.chance.bound:.3f}"
            " by chance"
            for column in one.drifted
        ]
    lines += [f"warning: {line}" for line in (*outcome.notes, *outcome.problems.lines())]
    if outcome.settings.output is not None:
        lines.append(f"report {outcome.settings.output.rstrip('/')}/report.html")
    return lines


def _pair(text: str) -> tuple[str, str]:
    """`variant=place`; a place alone stands for all variants."""
    variant, equals, place = text.partition("=")
    return (variant, place) if equals and "/" not in variant else ("", text)


def _readers(number: Any) -> int | None:
    if number is not None and number < 1:
        raise ConfigError([f"readers must be at least 1, got {number}"])
    return None if number is None else int(number)


def _message(base: Path, text: str) -> None:
    """Where SageMaker looks for how a monitoring job ended."""
    path = base / MESSAGE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[:MESSAGE_CHARACTERS], encoding="utf-8")
    except OSError:
        return  # outside a container there is no such place, and the text was said anyway
