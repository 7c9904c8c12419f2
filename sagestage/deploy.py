"""The embedded engine on one stack of this project: what preview, up, refresh and destroy share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagestage import aws, replacement, stackfile
from sagestage.errors import SagestageError
from sagestage.project import Project

if TYPE_CHECKING:
    from infra.cloud.control import CloudInfo
    from infra.engine import Engine, Event, Result

OnEvent = Callable[["Event"], None]


class Deployment:
    """A stack that deploys to the embedded cloud, and the engine that does it.

    Raises:
        SagestageError: the stack does not exist or deploys to AWS, or the cloud does not run.
    """

    def __init__(
        self,
        project: Project,
        stack: str,
        on_event: OnEvent = lambda _event: None,
        *,
        replace_endpoints: bool = False,
    ) -> None:
        self.replace_endpoints = replace_endpoints
        self.project = project
        self.stack = stack
        self._on_event = on_event
        config = stackfile.read(project.root, stack)
        if not stackfile.is_embedded(config):
            raise SagestageError(
                f"stack {stack!r} deploys to AWS (no aws:endpoints on this machine): use `pulumi up --stack {stack}`"
            )
        self.cloud: CloudInfo = aws.running_cloud(project)
        if stack == stackfile.LOCAL:
            self._follow_cloud(config)

    def preview(self) -> Result:
        """What `up` would do."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        return self._planned(engine)

    def up(self) -> Result:
        """Make the embedded cloud what the program declares."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        if not self.replace_endpoints and engine.state_file.exists():
            self._planned(engine)
        result = engine.up()
        self._prune(engine)
        return result

    def _planned(self, engine: Engine) -> Result:
        """A plan that takes no endpoint away, unless that is allowed.

        Raises:
            ReplacementError: it would.
        """
        plan = engine.preview()
        if not self.replace_endpoints:
            replacement.refuse(plan.steps)
        return plan

    def refresh(self) -> Result:
        """Make the state what the embedded cloud has."""
        result = self._engine().refresh()
        self._remember_cloud()
        return result

    def destroy(self) -> Result:
        """Delete everything that the stack made."""
        engine = self._engine()
        self._forget_lost_cloud(engine)
        result = engine.destroy()
        self._prune(engine)
        return result

    def _engine(self) -> Engine:
        from infra.engine import Engine
        from infra.engine.secrets import passphrase
        from infra.provider import AwsProvider

        passphrase(os.environ, self.project.home)  # made now: either engine may be the first to need it
        return Engine(
            root=self.project.root,
            stack=self.stack,
            providers={"aws": AwsProvider},
            home=self.project.home,
            on_event=self._on_event,
        )

    @property
    def _mark(self) -> Path:
        """Which life of the cloud the state was made in."""
        return self.project.home / "stacks" / f"{self.stack}.cloud"

    def _forget_lost_cloud(self, engine: Engine) -> None:
        """Bring the state up to date when the cloud was started anew: what it had is gone."""
        if self._mark.exists() and self._mark.read_text() != self.cloud.id:
            engine.refresh()
        self._remember_cloud()

    def _remember_cloud(self) -> None:
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.write_text(self.cloud.id)

    def _follow_cloud(self, config: dict[str, Any]) -> None:
        """Point the stack file at the running cloud, and give that cloud the archives that the stack names."""
        values = {key.partition(":")[2]: str(value) for key, value in config.items() if not isinstance(value, list)}
        stackfile.write_local(self.project.root, values | {"url": self.cloud.url, "region": self.cloud.region})
        prefix = f"s3://{aws.bucket_of(self.cloud)}/"
        for value in values.values():
            if value.startswith(prefix):
                key = value.removeprefix(prefix)
                archive = self.project.artifacts / key
                if archive.is_file():
                    aws.upload(self.cloud, archive, key)

    def _prune(self, engine: Engine) -> None:
        """Delete endpoint configurations and models of this stack that no endpoint runs and the state does not name."""
        from infra.prune import prune
        from sagestage.prune import declared

        keep = declared(engine.state_file.read_bytes())
        name = stackfile.project_name(self.project.root)
        prune(aws.client(self.cloud, "sagemaker"), name, self.stack, keep=keep)
