"""Where a project's files are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sagestage.errors import SagestageError

PROJECT_FILE = "Pulumi.yaml"


@dataclass(frozen=True)
class Project:
    """The folder that holds Pulumi.yaml, and what sagestage keeps under it (all git-ignored).

    .sagestage/cloud       the embedded AWS
    .sagestage/stacks      the state of each stack
    .sagestage/artifacts   the archives that were trained here, under the keys that they have in S3
    .sagestage/runs        what a training run leaves
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The nearest folder upwards with a Pulumi.yaml.

        Raises:
            SagestageError: there is none.
        """
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / PROJECT_FILE).is_file():
                return cls(folder)
        raise SagestageError(f"no {PROJECT_FILE} in {start} or above it: run this inside a sagestage project")

    @cached_property
    def home(self) -> Path:
        """Where everything that can be made again is kept."""
        return self.root / ".sagestage"

    @property
    def cloud(self) -> Path:
        """The home of the embedded AWS."""
        return self.home / "cloud"

    @property
    def artifacts(self) -> Path:
        """The archives that were trained here."""
        return self.home / "artifacts"

    @property
    def runs(self) -> Path:
        """What training runs leave."""
        return self.home / "runs"

    @property
    def data(self) -> Path:
        """Generated data."""
        return self.home / "data"
