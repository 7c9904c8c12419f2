"""What training jobs write into the journal, and what a new life makes of it: pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from infra.cloud import lives
from infra.cloud.training_job import ENDED, Job

DOCUMENT = "training"
_PLAIN = (
    "name", "region", "request", "tags", "status", "secondary", "transitions", "reason", "artifact", "billable_s",
    "interruptions",
)  # fmt: skip
_MOMENTS = ("created", "modified", "begun", "ended")


def written(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Every job, as a JSON document."""
    return [
        {
            **{name: getattr(job, name) for name in _PLAIN},
            **{name: getattr(job, name) and getattr(job, name).isoformat() for name in _MOMENTS},
            "metrics": {name: list(value) for name, value in job.metrics.items()},
        }
        for job in jobs
    ]


def jobs(document: Iterable[Mapping[str, Any]]) -> list[Job]:
    """The jobs of a document. Those that had not ended have failed: what ran them is gone."""
    found = []
    for one in document:
        plain = {name: one[name] for name in _PLAIN}
        moments = {name: lives.moment(one[name]) for name in _MOMENTS}
        metrics = {name: (value, moment) for name, (value, moment) in one["metrics"].items()}
        job = Job(**plain, **moments, metrics=metrics)
        if job.status not in ENDED:
            job.fail(f"InternalServerError: the embedded cloud ended during the job: {_remedy(job)}.")
        found.append(job)
    return found


def _remedy(job: Job) -> str:
    kept = job.request.get("CheckpointConfig", {}).get("S3Uri")
    return "create another" + (f", which goes on from the checkpoints at {kept}" if kept else "")
