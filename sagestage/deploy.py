"""The embedded engine on one stack of this project: what preview, up, refresh and destroy share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage import aws, renaming, replacement, rescaling, scaling_in, stackfile
from sagestage.errors import SagestageError
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.cloud.control import CloudInfo
    from infra.engine import Engine, Event, Import, Result

OnEvent = Callable[["Event"], None]


class Deployment:
    """A stack on the embedded cloud, and the engine that does it.

    `targets` are URNs: nothing else is touched. A stack for AWS (`on="embedded"` asks for it) keeps its program and
    configuration; its provider is pointed at the embedded cloud, and what it cannot decrypt becomes a placeholder. With
    `offline`, as for a preview, it needs no cloud.

    Raises:
        SagestageError: the stack does not exist or deploys to AWS, or the cloud does not run.
    """

    def __init__(  # noqa: PLR0913 - one for each option of the command line
        self,
        project: Project,
        stack: str,
        on_event: OnEvent = lambda _event: None,
        *,
        replace_endpoints: bool = False,
        accept_scale_in: bool = False,
        targets: tuple[str, ...] = (),
        offline: bool = False,
        on: str | None = None,
        parallel: int | None = None,
    ) -> None:
        self.replace_endpoints = replace_endpoints
        self.accept_scale_in = accept_scale_in
        self.project = project
        self.stack = stack
        self.shrinks: list[scaling_in.Shrink] = []
        self.rescaled: list[rescaling.Rescaled] = []
        self._targets = targets
        self._parallel = parallel
        self._on_event = on_event
        config = stackfile.read(project.root, stack)
        self._foreign = None if stackfile.is_embedded(config) else config
        if self._foreign is not None and on is None:
            raise SagestageError(
                f"stack {stack!r} deploys to AWS (no aws:endpoints on this machine): `--on embedded` rehearses it here"
            )
        self.cloud: CloudInfo | None = None
        if self._foreign is None or not offline:
            self.cloud = aws.running_cloud(project, config.get("aws:region"))
        else:
            from infra.cloud import control

            self.cloud = control.status(project.cloud)
        if stack == stackfile.LOCAL and self.cloud is not None:
            self._follow_cloud(config, self.cloud)

    def preview(self) -> Result:
        """What `up` would do."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        return self._planned(engine)

    def up(self) -> Result:
        """Make the embedded cloud what the program declares."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        if engine.state_file.exists():
            self._planned(engine)
            if not self.accept_scale_in:
                scaling_in.refuse(self.shrinks)
            rescaling.refuse_targets(self.rescaled, self._targets)
            if going := rescaling.urns_of(self.rescaled):
                self._engine(going).destroy()
        result = engine.up()
        self._prune(engine)
        return result

    def _planned(self, engine: Engine) -> Result:
        """A plan that takes no endpoint away, unless that is allowed.

        Raises:
            ReplacementError: it would.
            RenamingError: SageMaker would refuse an update.
        """
        plan = engine.preview()
        if not self.replace_endpoints:
            replacement.refuse(plan.steps)
        planned = scaling_in.endpoints(plan.steps)
        live = self._live(planned) if planned else {}
        renaming.refuse(plan.steps, live)
        self.shrinks = scaling_in.shrinks(planned, live)
        if planned:
            state = json.loads(engine.export())["deployment"].get("resources") or []
            self.rescaled = rescaling.rescaled(plan.steps, state)
        return plan

    def _live(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """How many instances each variant of these endpoints runs now."""
        if self.cloud is None:
            return {}
        sagemaker = aws.client(self.cloud, "sagemaker")
        live = {}
        for page in sagemaker.get_paginator("list_endpoints").paginate():
            for found in page["Endpoints"]:
                if found["EndpointName"] in names:
                    described = sagemaker.describe_endpoint(EndpointName=found["EndpointName"])
                    live[found["EndpointName"]] = {
                        variant["VariantName"]: int(variant.get("CurrentInstanceCount", 0))
                        for variant in described.get("ProductionVariants", [])
                    }
        return live

    def refresh(self) -> Result:
        """Make the state what the embedded cloud has."""
        result = self._engine().refresh()
        self._remember_cloud()
        return result

    def import_(self, imports: Iterable[Import], *, preview: bool) -> Result:
        """Make resources of the embedded cloud the stack's own."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        return engine.import_(imports, preview=preview)

    def destroy(self) -> Result:
        """Delete everything that the stack made."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        result = engine.destroy()
        self._prune(engine)
        return result

    def _engine(self, targets: tuple[str, ...] | None = None) -> Engine:
        from infra.engine import Engine, Options
        from infra.engine.secrets import passphrase
        from infra.provider import AwsProvider
        from sagestage import engines
        from sagestage.offline import OfflineProvider

        targets = self._targets if targets is None else targets
        passphrase(os.environ, self.project.home)  # made now: either engine may be the first to need it
        return Engine(
            root=self.project.root,
            stack=self.stack,
            providers={"aws": AwsProvider if self.cloud is not None else OfflineProvider},
            home=self.project.home,
            on_event=self._on_event,
            **({} if self._parallel is None else {"parallel": self._parallel}),
            options=Options(targets)
            if self._foreign is None
            else Options(
                targets,
                engines.overrides(self._foreign, None if self.cloud is None else self.cloud.url),
                placeholders=True,
            ),
        )

    @property
    def _mark(self) -> Path:
        """Which life of the cloud the state was made in."""
        return self.project.home / "stacks" / f"{self.stack}.cloud"

    def _forget_lost_cloud(self, engine: Engine) -> None:
        """Bring the state up to date when the cloud was started anew: what it had is gone."""
        if self.cloud is None:
            return
        if self._mark.exists() and self._mark.read_text() != self.cloud.id:
            engine.refresh()
        self._remember_cloud()

    def _remember_cloud(self) -> None:
        if self.cloud is None:
            return
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.write_text(self.cloud.id)

    def _follow_cloud(self, config: dict[str, Any], cloud: CloudInfo) -> None:
        """Point the stack file at the running cloud, and give that cloud the archives that the stack names."""
        values = {key.partition(":")[2]: str(value) for key, value in config.items() if not isinstance(value, list)}
        stackfile.write_local(self.project.root, values | {"url": cloud.url, "region": cloud.region})
        prefix = f"s3://{aws.bucket_of(cloud)}/"
        for value in values.values():
            if value.startswith(prefix):
                key = value.removeprefix(prefix)
                archive = self.project.artifacts / key
                if archive.is_file():
                    aws.upload(cloud, archive, key)

    def _prune(self, engine: Engine) -> None:
        """Delete endpoint configurations and models of this stack that no endpoint runs and the state does not name."""
        if self.cloud is None:
            return
        from infra.prune import prune
        from sagestage.prune import declared

        keep = declared(engine.state_file.read_bytes())
        name = stackfile.project_name(self.project.root)
        prune(aws.client(self.cloud, "sagemaker"), name, self.stack, keep=keep)
