"""What a cloud is started with."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from infra.cloud.errors import CloudError

DEFAULT_PORT = 4577
DEFAULT_REGION = "us-east-1"
DEFAULT_SERVE_IMAGE = "*sagestage-inference*"
DEFAULT_MAX_INSTANCES = 2
MOST_TIME_SCALE = 600  # an alarm's minute is then a tenth of a second
INVOCATION_TIMEOUT_S = 60.0  # InvokeEndpoint's limit
DEFAULT_TRAIN_IMAGE = "*sagestage-training*"
SERVE_COMMAND = (sys.executable, "-m", "inference", "serve")
TRAIN_COMMAND = (sys.executable, "-m", "training", "train")
HOSTING = ("process", "container")


@dataclass(frozen=True)
class Options:
    """The settings of one cloud's life.

    Args:
        home: the folder for its files: cloud.json, cloud.log, endpoints/.
        host: the loopback address to listen on.
        port: the port to listen on, already bound when the cloud runs.
        region: the region of calls that carry no signature.
        serve_image: a pattern (fnmatch); models whose image matches are run by `serve_command`.
        serve_command: what runs an instance; the container contract is in its environment.
        train_image: a pattern; training jobs whose image matches are run by `train_command`.
        train_command: what runs a training job; /opt/ml is where SAGESTAGE_BASE_DIR says.
        hosting: whether images that match run as a process or, as all others, as a container.
        max_instances: the most processes that one variant gets, whatever its instance count says.
        invocation_timeout_s: seconds that a container has for an answer.
        time_scale: how much faster than this machine's time waits, alarm periods and cooldowns pass.
        seed: makes variant choice and capture sampling repeatable; None draws a fresh one.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    region: str = DEFAULT_REGION
    serve_image: str = DEFAULT_SERVE_IMAGE
    serve_command: tuple[str, ...] = field(default=SERVE_COMMAND)
    train_image: str = DEFAULT_TRAIN_IMAGE
    train_command: tuple[str, ...] = field(default=TRAIN_COMMAND)
    hosting: str = HOSTING[0]
    max_instances: int = DEFAULT_MAX_INSTANCES
    time_scale: float = 1.0
    seed: int | None = None
    invocation_timeout_s: float = INVOCATION_TIMEOUT_S

    @property
    def url(self) -> str:
        """The address of every AWS service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def require_sensible(port: int | None, max_instances: int | None, time_scale: float | None = None) -> None:
    """Refuse numbers that cannot be; None is what was not given.

    Raises:
        CloudError: names the option and its value.
    """
    if port is not None and not 1 <= port <= 65_535:
        raise CloudError(f"--port must be between 1 and 65535, got {port}")
    if max_instances is not None and max_instances < 1:
        raise CloudError(f"--max-instances must be at least 1, got {max_instances}")
    if time_scale is not None and not 1 <= time_scale <= MOST_TIME_SCALE:
        raise CloudError(f"--time-scale must be between 1 and {MOST_TIME_SCALE}, got {time_scale:g}")
