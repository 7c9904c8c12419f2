"""Batch transform jobs: CreateTransformJob, and Describe, List and Stop; the work itself is `transforming`'s."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.cloud import batches, lives
from infra.cloud.capture import now
from infra.cloud.errors import JournalError, invalid
from infra.cloud.journal import Journal
from infra.cloud.logs import JOBS_GROUP
from infra.cloud.moto_app import Moto, seconds
from infra.cloud.pages import jobs_page
from infra.cloud.records import arn
from infra.cloud.transforming import Job, Works
from infra.cloud.validation import validate

DOCUMENT = "transforms"
_PARTS = (
    "ModelName", "MaxConcurrentTransforms", "ModelClientConfig", "MaxPayloadInMB", "BatchStrategy", "Environment",
    "TransformInput", "TransformOutput", "DataCaptureConfig", "TransformResources", "DataProcessing",
    "ExperimentConfig",
)  # fmt: skip
log = logging.getLogger(__name__)


class Transforms:
    """The jobs of every region. `calls` maps an operation's name to (region, parameters) -> response."""

    def __init__(self, works: Works, moto: Moto, journal: Journal) -> None:
        self._works = works
        self._moto = moto
        self._journal = journal
        self.jobs: dict[tuple[str, str], Job] = {}
        self.calls: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "CreateTransformJob": self._create,
            "DescribeTransformJob": self._describe,
            "ListTransformJobs": self._list,
            "StopTransformJob": self._stop,
        }

    def restore(self) -> None:
        """Know the jobs of an earlier life; those that it did not end have failed."""
        for one in self._journal.load(DOCUMENT) or ():
            moments = {name: lives.moment(one[name]) for name in ("created", "modified", "started", "ended")}
            job = Job(one["name"], one["region"], one["request"], one["tags"], one["status"], one["reason"], **moments)
            if job.status in ("InProgress", "Stopping"):
                job.become("Failed", "InternalServerError: the embedded cloud ended during the job: create another.")
            self.jobs[job.region, job.name] = job

    def tagged(self, region: str, resource: str) -> dict[str, str] | None:
        """The tags of a job by its ARN; None for another ARN."""
        return next((job.tags for job in self.jobs.values() if job.region == region and job.arn == resource), None)

    def log_folders(self) -> list[tuple[str, str, Path]]:
        """Region, log group and folder of log files of every job of this life."""
        return [(j.region, JOBS_GROUP, self._works.folder / j.name / "logs") for j in self.jobs.values() if j.task]

    async def close(self) -> None:
        """End what is under way."""
        tasks = [job.task for job in self.jobs.values() if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _create(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        validate("CreateTransformJob", params)
        name = params["TransformJobName"]
        if (region, name) in self.jobs:
            raise invalid(
                f"Job name must be unique within an AWS account and region: {arn(region, 'transform-job', name)}"
            )
        if not self._moto.has_model(region, params["ModelName"]):
            raise invalid(f'Could not find model "{arn(region, "model", params["ModelName"])}".')
        problems = list(_problems(params))
        if problems:
            raise invalid(" ".join(problems))
        request = {part: params[part] for part in _PARTS if part in params}
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        job = Job(name, region, request, tags)
        job.changed = self.keep
        self.jobs[region, name] = job
        job.task = asyncio.create_task(self._works.run(job))
        self.keep()
        return {"TransformJobArn": job.arn}

    def _describe(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        job = self._one("DescribeTransformJob", region, params)
        moments = {
            "CreationTime": job.created,
            "TransformStartTime": job.started,
            "TransformEndTime": job.ended,
        }
        return {
            "TransformJobName": job.name,
            "TransformJobArn": job.arn,
            "TransformJobStatus": job.status,
            **({"FailureReason": job.reason} if job.reason else {}),
            **job.request,
            **{name: seconds(moment) for name, moment in moments.items() if moment is not None},
        }

    def _list(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        validate("ListTransformJobs", params)
        found, token = jobs_page(self.jobs.values(), region, params)
        return {"TransformJobSummaries": [_summary(job) for job in found], **token}

    def _stop(self, region: str, params: dict[str, Any]) -> dict[str, Any]:
        job = self._one("StopTransformJob", region, params)
        if job.status != "InProgress":
            raise invalid(f"The request was rejected because the transform job is in status {job.status}.")
        job.become("Stopping")
        if job.task is not None:
            job.task.cancel()
        return {}

    def _one(self, operation: str, region: str, params: dict[str, Any]) -> Job:
        validate(operation, params)
        job = self.jobs.get((region, params["TransformJobName"]))
        if job is None:
            raise invalid(f'Could not find transform job "{params["TransformJobName"]}".')
        return job

    def keep(self) -> None:
        """Write the jobs down."""
        document = [
            {
                "name": job.name,
                "region": job.region,
                "request": job.request,
                "tags": job.tags,
                "status": job.status,
                "reason": job.reason,
                **{name: _iso(getattr(job, name)) for name in ("created", "modified", "started", "ended")},
            }
            for job in self.jobs.values()
        ]
        try:
            self._journal.save(DOCUMENT, document)
        except JournalError:  # a job goes on
            log.exception("the journal cannot be written")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _summary(job: Job) -> dict[str, Any]:
    return {
        "TransformJobName": job.name,
        "TransformJobArn": job.arn,
        "CreationTime": seconds(job.created),
        "LastModifiedTime": seconds(job.modified or now()),
        "TransformJobStatus": job.status,
        **({"TransformEndTime": seconds(job.ended)} if job.ended else {}),
        **({"FailureReason": job.reason} if job.reason else {}),
    }


def _problems(params: Mapping[str, Any]) -> list[str]:
    """What a job must not ask for, beside what the service model says."""
    found = []
    split = params["TransformInput"].get("SplitType", "None")
    payload = params.get("MaxPayloadInMB", batches.DEFAULT_PAYLOAD_MB)
    at_once = params.get("MaxConcurrentTransforms", 0)
    if payload > batches.MOST_MB:
        found.append(f"MaxPayloadInMB must be at most {batches.MOST_MB}, got {payload}.")
    elif at_once * payload > batches.MOST_MB:
        found.append(f"MaxConcurrentTransforms * MaxPayloadInMB must be at most 100 MB, got {at_once} * {payload}.")
    if params.get("BatchStrategy") and split == "None":
        found.append(f"BatchStrategy {params['BatchStrategy']} needs a SplitType of Line, RecordIO or TFRecord.")
    if "S3DataSource" not in params["TransformInput"]["DataSource"]:
        found.append("TransformInput needs an S3DataSource.")
    processing = params.get("DataProcessing", {})
    if processing.get("JoinSource", "None") != "None" or {"InputFilter", "OutputFilter"} & set(processing):
        known = (batches.CSV_TYPE, *batches.JSON_TYPES)
        types = (params["TransformInput"].get("ContentType"), params["TransformOutput"].get("Accept"))
        if not all(kind in known for kind in types):
            found.append(f"DataProcessing needs ContentType and Accept of {', '.join(known)}, got {types}.")
        found += [
            f"{name} must be a JSONPath that begins with $, got {processing[name]}."
            for name in ("InputFilter", "OutputFilter")
            if not processing.get(name, "$").startswith("$")
        ]
    return found
