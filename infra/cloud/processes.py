"""Jobs as child processes, by the container contract: a base directory in place of /opt/ml, variables, a log."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

from moto.backends import get_backend

from infra.cloud.errors import InstanceError
from infra.cloud.groups import Groups
from infra.cloud.moto_app import ACCOUNT, Moto
from infra.cloud.options import Options

LOG = "job.log"
GRACE_S = 20.0
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "OMP_NUM_THREADS")
_TAIL_CHARACTERS = 600


@dataclass(frozen=True)
class Job:
    """A job to run: `folder` is what it sees as /opt/ml."""

    image: str
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    limit_s: float


class Processes:
    """Runs jobs in process groups that end with the cloud."""

    def __init__(self, options: Options, groups: Groups, moto: Moto) -> None:
        self.options = options
        self._groups = groups
        self._moto = moto

    async def run(self, job: Job) -> int:
        """Run a job to its end; the exit code.

        Raises:
            InstanceError: the image is not ours, or the job took longer than it may.
        """
        pattern = self.options.train_image
        if not fnmatch(job.image, pattern):
            raise InstanceError(f"image {job.image} is not sagestage's ({pattern}): needs Docker")
        command = [sys.executable, "-m", "training", *job.arguments]
        process = await self._groups.spawn(command, self._environment(job), job.folder / LOG)
        try:
            async with asyncio.timeout(job.limit_s):
                return await process.wait()
        except TimeoutError:
            raise InstanceError(f"it took longer than {job.limit_s:.0f} s: StoppingCondition") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GRACE_S):
                        await process.wait()
            self._groups.end(process.pid)

    def _environment(self, job: Job) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            "AWS_ENDPOINT_URL": self.options.url,
            "AWS_ACCESS_KEY_ID": "sagestage",
            "AWS_SECRET_ACCESS_KEY": "sagestage",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": self.options.region,
            "AWS_DEFAULT_REGION": self.options.region,
            **job.environment,
            "SAGESTAGE_BASE_DIR": str(job.folder),
        }

    # What a platform does for a job: bring its inputs, take its outputs away, keep its log.

    def download(self, uri: str, folder: Path, keys: Sequence[str] | None = None) -> int:
        """Put the objects of a prefix (or these keys of it) into a folder; how many they were."""
        bucket, prefix = _place(uri)
        found = self.keys(uri) if keys is None else keys
        for key in found:
            inner = key.removeprefix(prefix).lstrip("/") or key.rpartition("/")[2]
            target = folder / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._moto.read_object(bucket, key))
        return len(found)

    def keys(self, uri: str) -> list[str]:
        """The keys below a prefix, in order.

        Raises:
            InstanceError: there is no such bucket.
        """
        bucket, prefix = _place(uri)
        _require(bucket, uri)
        return self._moto.keys(bucket, prefix)

    def upload(self, folder: Path, uri: str) -> int:
        """Put a folder's files below a prefix; how many they were.

        Raises:
            InstanceError: there is no such bucket.
        """
        bucket, prefix = _place(uri)
        _require(bucket, uri)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        for path in files:
            key = f"{prefix.rstrip('/')}/{path.relative_to(folder)}".lstrip("/")
            self._moto.write_object(bucket, key, path.read_bytes(), _kind(path))
        return len(files)

    def keep_log(self, region: str, kind: str, name: str, folder: Path) -> None:
        """Put what a job printed into CloudWatch Logs, as one of its kind: ProcessingJobs, TrainingJobs."""
        lines = list(_lines(folder / LOG))
        if lines:
            moment = int((folder / LOG).stat().st_mtime * 1000)
            events = [(moment, line) for line in lines]
            self._moto.put_log_events(region, f"/aws/sagemaker/{kind}", f"{name}/algo-1", events)


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        yield from (line for line in path.read_text(errors="replace").splitlines() if line.strip())


def tail(folder: Path) -> str:
    """The last lines of what a job printed."""
    return " | ".join(_lines(folder / LOG))[-_TAIL_CHARACTERS:] or "it printed nothing"


def _require(bucket: str, uri: str) -> None:
    if bucket not in get_backend("s3")[ACCOUNT]["aws"].buckets:
        raise InstanceError(f"{uri}: there is no bucket {bucket}")


def _place(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


def _kind(path: Path) -> str:
    return {".html": "text/html", ".json": "application/json"}.get(path.suffix, "application/octet-stream")
