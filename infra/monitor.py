"""Watching a model in production: a schedule that reads captured traffic, its alarms, and what they start."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra import monitor_plan, names, plan, policies, retraining_plan
from infra.buckets import DataBucket
from infra.endpoint import Endpoint
from infra.model import Model
from infra.model_spec import Network
from infra.monitor_spec import MonitorSpec, Quality, Retraining
from infra.retraining_plan import Known
from infra.surroundings import child, home
from infra.surroundings import tags as stack_tags
from infra.topic import Topic


class Monitor(pulumi.ComponentResource):
    """A monitoring schedule of an endpoint with our own container, and alarms over what it measures.

    Drift is read against the rows that each variant's model learnt from: `drift.json`, which training puts beside the
    archive. The alarms: drift (the worst column's index, where it is more than chance) and quality, both critical;
    captured records that stay away; the disk that capture needs.

    Args:
        name: Pulumi's name; the schedule's is `<project>-<stack>-<name>`.
        endpoint: what is watched; it must capture.
        image: the training image: it holds the job.
        every_hours: the schedule's period: 1, 2, 3, 4, 6, 8, 12 or 24.
        drift_above, drift_minutes: the bound of the drift alarm, and for how long on end.
        quality: labels and their bound; absent: quality is not judged.
        retraining: what the alarms start; absent: nothing.
        silent_minutes: no record for so long is an alarm; None: it is not.
        disk_above_percent: capture stops when an instance's disk is nearly full.
        instance, volume_gb, max_minutes: what the job runs on, and how long it may take.
        keep_reports_days: days after which a report is deleted.
        network: subnets and security groups of the job.
        kms_key: ARN of the KMS key of its volume, its reports, and what it reads.
        notify: Topics, or ARNs of topics, that hear of every alarm.
        role: ARN of a role that SageMaker may assume; absent: one is made that may do just this.
        tags: further tags.
        physical_name: the schedule's name.
        opts: Pulumi's options.

    Attributes:
        name: the schedule's name.
        reports_uri: where reports are written.
        alarm_names: the names of its alarms.
        pipeline_name: of the retraining; None without one.
        spec: what was declared.

    Raises:
        SpecError: every documented limit that the declaration breaks; an alarm that does not fit the schedule.
    """

    name: pulumi.Output[str]
    reports_uri: pulumi.Output[str]
    alarm_names: list[pulumi.Output[str]]
    pipeline_name: pulumi.Output[str] | None
    spec: MonitorSpec

    def __init__(  # noqa: PLR0913 - what a monitor is made of, each by its name
        self,
        name: str,
        endpoint: Endpoint,
        *,
        image: pulumi.Input[str],
        every_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = 1,
        drift_above: float = 0.3,
        drift_minutes: int = 10,
        quality: Quality | None = None,
        retraining: Retraining | None = None,
        silent_minutes: int | None = 120,
        disk_above_percent: float = 75,
        instance: str = "ml.m5.large",
        volume_gb: int = 30,
        max_minutes: int = 50,
        keep_reports_days: int = 90,
        network: Network | None = None,
        kms_key: pulumi.Input[str] | None = None,
        notify: Sequence[Topic | pulumi.Input[str]] = (),
        role: pulumi.Input[str] | None = None,
        tags: Mapping[str, pulumi.Input[str]] | None = None,
        physical_name: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        physical = names.physical(pulumi.get_project(), pulumi.get_stack(), name)
        capture = endpoint.spec.capture
        self._models = {variant.name: variant.model for variant in endpoint.spec.variants}
        self.spec = spec = MonitorSpec(
            name,
            physical if physical_name is None else physical_name,
            endpoint.spec.physical_name,
            image=image,
            artifacts=_artifacts(self._models),
            capture_percent=None if capture is None else capture.percent,
            keep_days=None if capture is None else capture.keep_days,
            every_hours=every_hours,
            drift_above=drift_above,
            drift_minutes=drift_minutes,
            quality=quality,
            retraining=retraining,
            silent_minutes=silent_minutes,
            disk_above_percent=disk_above_percent,
            instance=instance,
            volume_gb=volume_gb,
            max_minutes=max_minutes,
            keep_reports_days=keep_reports_days,
            network=network,
            kms_key=kms_key,
            notify=tuple(notify),
            tags=tags,
        )
        super().__init__("sagestage:index:Monitor", name, None, opts)
        self._tags = stack_tags(spec.endpoint_name)
        reports = DataBucket(
            f"{name}-reports",
            prefixes=(monitor_plan.REPORTS_PREFIX,),
            keep_days=keep_reports_days,
            kms_key=kms_key,
            endpoint=spec.endpoint_name,
            opts=child(self),
        )
        self.reports_uri = reports.uri(monitor_plan.REPORTS_PREFIX)
        capture_uri = pulumi.Output.from_input(endpoint.capture_uri or "")
        role_arn, first = self._role(role, reports, capture_uri)
        variables = pulumi.Output.all(
            pulumi.Output.all(**spec.artifacts), capture_uri, None if quality is None else quality.ground_truth
        ).apply(self._environment)
        definition = aws.sagemaker.DataQualityJobDefinition(
            name,
            **monitor_plan.job_definition(
                spec,
                variables=variables,
                role_arn=role_arn,
                reports_uri=self.reports_uri,
                endpoint_name=endpoint.name,
                tags=self._tags,
            ),
            # A change of the role would be planned as an update, and SageMaker has no call for it.
            opts=child(self, depends_on=[*first, *reports.secured], replace_on_changes=["roleArn"]),
        )
        schedule = aws.sagemaker.MonitoringSchedule(
            name, **monitor_plan.schedule(spec, definition_name=definition.name, tags=self._tags), opts=child(self)
        )
        self.name = schedule.name
        self.alarm_names = [alarm.name for alarm in self._alarms(name)]
        self.pipeline_name = None if retraining is None else self._retraining(name, retraining)
        self.register_outputs({"name": self.name, "reportsUri": self.reports_uri, "pipelineName": self.pipeline_name})

    def _environment(self, known: Sequence[Any]) -> dict[str, str]:
        artifacts, capture_uri, labels = known
        found = monitor_plan.environment(self.spec, artifacts, capture_uri)
        return found if labels is None else {**found, "SAGESTAGE_GROUND_TRUTH": labels}

    def _alarms(self, name: str) -> list[aws.cloudwatch.MetricAlarm]:
        notify = [plan.arn_of(topic) for topic in self.spec.notify]
        return [
            aws.cloudwatch.MetricAlarm(
                f"{name}-{rule.name}",
                **monitor_plan.alarm(self.spec, rule, notify=notify, tags=self._tags),
                opts=child(self),
            )
            for rule in monitor_plan.rules(self.spec)
        ]

    def _role(
        self, given: pulumi.Input[str] | None, reports: DataBucket, capture_uri: pulumi.Output[str]
    ) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
        if given is not None:
            return pulumi.Output.from_input(given), []
        here, spec = home(self), self.spec
        role = aws.iam.Role(
            f"{spec.name}-monitor",
            assume_role_policy=here.apply(policies.trust),
            description=f"SageMaker monitors {spec.endpoint_name} as this",
            tags={**(spec.tags or {}), **self._tags},
            opts=child(self),
        )

        def write(known: Sequence[Any]) -> str:
            place, image, artifacts, captured, bucket, labels = known
            return retraining_plan.job_policy(
                place,
                spec,
                image=image,
                artifacts=list(artifacts.values()),
                labels=labels,
                capture=captured.removeprefix("s3://").partition("/")[0],
                reports=bucket,
            )

        document = pulumi.Output.all(
            here,
            spec.image,
            pulumi.Output.all(**spec.artifacts),
            capture_uri,
            reports.bucket,
            None if spec.quality is None else spec.quality.ground_truth,
        ).apply(write)
        policy = aws.iam.RolePolicy(f"{spec.name}-monitor", role=role.name, policy=document, opts=child(self))
        return role.arn, [policy]

    def _retraining(self, name: str, wish: Retraining) -> pulumi.Output[str]:
        here, spec = home(self), self.spec
        model = self._models[spec.retrained]
        own = {**(spec.tags or {}), **self._tags}
        role = aws.iam.Role(
            f"{name}-retraining",
            assume_role_policy=here.apply(policies.trust),
            description=f"SageMaker trains {spec.retrained} of {spec.endpoint_name} again as this",
            tags=own,
            opts=child(self),
        )
        serving = model.spec.image if isinstance(model, Model) else spec.image
        model_role = model.role_arn if isinstance(model, Model) else ""
        facts = pulumi.Output.all(
            spec.image, serving, spec.artifacts[spec.retrained], wish.data, wish.group_name, role.arn
        ).apply(lambda known: Known(*known))
        document = pulumi.Output.all(here, facts, model_role).apply(
            lambda known: retraining_plan.policy(known[0], spec, wish, known[1], [one for one in known[2:] if one])
        )
        policy = aws.iam.RolePolicy(f"{name}-retraining", role=role.name, policy=document, opts=child(self))
        pipeline = aws.sagemaker.Pipeline(
            name,
            **retraining_plan.pipeline(
                spec,
                text=facts.apply(lambda known: retraining_plan.definition(spec, wish, known)),
                role_arn=role.arn,
                tags=self._tags,
            ),
            opts=child(self, depends_on=[policy]),
        )
        starter = aws.iam.Role(
            f"{name}-starter",
            assume_role_policy=here.apply(retraining_plan.events_trust),
            description=f"EventBridge starts {spec.physical_name}-retraining as this",
            tags=own,
            opts=child(self),
        )
        may = aws.iam.RolePolicy(
            f"{name}-starter",
            role=starter.name,
            policy=pipeline.arn.apply(retraining_plan.starter),
            opts=child(self),
        )
        rule = aws.cloudwatch.EventRule(
            name, **retraining_plan.rule(spec, wish, tags=self._tags), opts=child(self, depends_on=[may])
        )
        aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            target_id="retraining",
            arn=pipeline.arn,
            role_arn=starter.arn,
            sagemaker_pipeline_target={},
            opts=child(self),
        )
        made: pulumi.Output[str] = pipeline.pipeline_name
        return made


def _artifacts(models: Mapping[str, Any]) -> dict[str, Any]:
    """The archives by variant, of those models that have one."""
    return {
        name: model.spec.artifact
        for name, model in models.items()
        if isinstance(model, Model) and model.spec.artifact is not None and not model.spec.multi_model
    }
