"""The small serving container as an image, under the name that the tests' models have."""

import shutil
import tempfile
from pathlib import Path

from infra.cloud import docker
from tests.cloud_support.helpers import IMAGE
from tests.container_support.docker import INFERENCE, need_image

_DOCKERFILE = f"""
FROM {INFERENCE}
COPY container.py /
ENV SAGESTAGE_BASE_DIR=/opt/ml SAGESTAGE_HOST=0.0.0.0
ENTRYPOINT ["python", "/container.py"]
"""


def stub_image() -> None:
    """Make the image; skip with the reason where no container can run."""
    need_image(INFERENCE)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name("container.py"), folder)
        (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
        docker.call("build", "--quiet", "--tag", IMAGE, folder, env={"DOCKER_BUILDKIT": "0"}, timeout_s=120)
