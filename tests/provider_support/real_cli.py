"""What the tests with the real Pulumi CLI share: where it is, a project of its own, and what became of its stack."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
SERVICES = ("appautoscaling", "cloudwatch", "iam", "s3", "sagemaker", "sns", "sts")
_RANDOM = re.compile(r"-[0-9a-f]{7}\b")


def cli_path() -> str:
    """The PATH on which the CLI is; the test is skipped where there is none."""
    for path in (os.environ.get("PATH", ""), os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")])):
        if shutil.which("pulumi", path=path) and shutil.which("pulumi-language-python", path=path):
            return path
    pytest.skip(f"no Pulumi CLI on the PATH or in {TOOLS}")


class Project:
    """A Pulumi project in a folder of its own, whose `local` stack uses the cloud at `url`."""

    def __init__(self, root: Path, url: str, path: str, config: Mapping[str, str] | None = None) -> None:
        self.root, self.url, self.path = root, url, path
        self.write(config or {})

    def write(self, config: Mapping[str, str]) -> None:
        """Write the stack's file; what the CLI wrote into it stays."""
        file = self.root / "stacks" / "Pulumi.local.yaml"
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
        aws = {
            "aws:region": "us-east-1",
            "aws:accessKey": "sagestage",
            "aws:secretKey": "sagestage",
            "aws:s3UsePathStyle": "true",
            "aws:endpoints": [dict.fromkeys(SERVICES, self.url)],
        }
        kept = {name: value for name, value in content.get("config", {}).items() if isinstance(value, dict)}
        file.write_text(yaml.safe_dump({**content, "config": {**kept, **aws, **config}}))

    def pulumi(self, *arguments: str, code: int = 0) -> str:
        """Run `sagestage pulumi -- ARGUMENTS` as a process; its output."""
        run = "import sys; from pathlib import Path; from sagestage.pulumi_cli import run; "
        run += "sys.exit(run(Path(sys.argv[1]), sys.argv[3:], cloud_url=sys.argv[2]))"
        done = subprocess.run(
            [sys.executable, "-c", run, str(self.root), self.url, *arguments],
            env={**os.environ, "PATH": self.path, "PYTHONPATH": str(ROOT), "AWS_PROFILE": "production"},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        return output

    def deploy(self, operation: str, *arguments: str, code: int = 0) -> str:
        """An operation that changes things, without questions."""
        return self.pulumi(operation, "--yes", "--non-interactive", "--skip-preview", *arguments, code=code)

    def planned(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """What a preview would do: resource name and type -> step."""
        output = self.pulumi("preview", "--json", "--non-interactive", *arguments)
        steps = json.loads(output[output.index("{") : output.rindex("}") + 1])["steps"]
        return {short(step["urn"]): step for step in steps}

    def exported(self) -> list[dict[str, Any]]:
        """The resources in the CLI's own state."""
        output = self.pulumi("stack", "export")
        return resources_of(json.loads(output[output.index("{") : output.rindex("}") + 1]))


def resources_of(checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources of an exported stack."""
    found = checkpoint["deployment"].get("resources") or []
    return [dict(each) for each in found]


def short(urn: str) -> str:
    """A URN's own type and name: `aws:iam/role:Role champion`."""
    kind, name = urn.split("::")[-2:]
    return f"{kind.rsplit('$', 1)[-1]} {name}"


def told(value: Any, url: str) -> Any:
    """A value without what differs from run to run: random digits of names, and the cloud's address."""
    return json.loads(_RANDOM.sub("-*", json.dumps(value, sort_keys=True)).replace(url, "URL"))
