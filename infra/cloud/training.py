"""Training jobs: CreateTrainingJob, and Describe, List and Stop; the work itself is `training_works`'s."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from infra.cloud import training_lives
from infra.cloud.errors import AwsError, JournalError, invalid
from infra.cloud.journal import Journal
from infra.cloud.pages import jobs_page
from infra.cloud.training_job import ENDED, Job, check, missing
from infra.cloud.training_works import Works

log = logging.getLogger(__name__)
Answer = dict[str, Any]


class Training:
    """SageMaker's training jobs, with those of an earlier life.

    `calls` maps an operation's name to (region, parameters) -> response.
    """

    def __init__(self, works: Works, journal: Journal) -> None:
        self._works = works
        self._journal = journal
        self.jobs: dict[tuple[str, str], Job] = {}
        self.calls: dict[str, Callable[[str, dict[str, Any]], Answer]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": lambda region, params: self._job(region, params["TrainingJobName"]).describe(),
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
        }
        self._restore()

    def _restore(self) -> None:
        """Know the jobs of an earlier life; those that it did not end have failed."""
        for job in training_lives.jobs(self._journal.load(training_lives.DOCUMENT) or ()):
            job.changed = self._keep
            self.jobs[job.region, job.name] = job
        self._keep()

    def _keep(self) -> None:
        """Write the jobs down."""
        try:
            self._journal.save(training_lives.DOCUMENT, training_lives.written(self.jobs.values()))
        except JournalError:  # a job goes on
            log.exception("the journal cannot be written")

    def tagged(self, region: str, resource: str) -> dict[str, str] | None:
        """The tags of a job, by its ARN; None for another resource."""
        found = [job for job in self.jobs.values() if (job.arn, job.region) == (resource, region)]
        return found[0].tags if found else None

    def interrupt(self, region: str, name: str) -> None:
        """Take the capacity of a spot job back, as AWS may at any time.

        Raises:
            AwsError: there is no such job, it is not a spot job, or it is not training.
        """
        job = self._job(region, name)
        if not job.spot:
            raise invalid(f"Training job {name} is no spot job: create it with EnableManagedSpotTraining.")
        if job.secondary != "Training":
            raise invalid(f"Training job {name} is {job.secondary}: only a job that is training can be interrupted.")
        job.interrupted.set()

    async def close(self) -> None:
        """End every job's processes, fast."""
        tasks = [job.task for job in self.jobs.values() if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _job(self, region: str, name: str) -> Job:
        job = self.jobs.get((region, name))
        if job is None:
            raise missing(name)
        return job

    def _create(self, region: str, params: dict[str, Any]) -> Answer:
        name = params["TrainingJobName"]
        if (region, name) in self.jobs:
            taken = self.jobs[region, name].arn
            text = f"Training job names must be unique within an AWS account and region: {taken} already exists."
            raise AwsError("ResourceInUse", text)
        check(params)
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        job = Job(name, region, params, tags, changed=self._keep)
        self.jobs[region, name] = job
        job.become("Starting")
        job.task = asyncio.get_running_loop().create_task(self._works.run(job))
        return {"TrainingJobArn": job.arn}

    def _list(self, region: str, params: dict[str, Any]) -> Answer:
        found, token = jobs_page(self.jobs.values(), region, params)
        return {"TrainingJobSummaries": [job.summary() for job in found], **token}

    def _stop(self, region: str, params: dict[str, Any]) -> Answer:
        job = self._job(region, params["TrainingJobName"])
        if job.status in ENDED:
            raise invalid(f"The request was rejected because the training job is in status {job.status}.")
        if job.status != "Stopping":
            job.become("Stopping", status="Stopping")
            job.stopping.set()
        return {}
