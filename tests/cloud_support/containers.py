"""The small serving and training containers as images, under the names that the tests have for them."""

import shutil
import tempfile
from pathlib import Path

from infra.cloud import docker
from tests.cloud_support.helpers import IMAGE
from tests.container_support.docker import INFERENCE, need_image

_DOCKERFILE = f"""
FROM {INFERENCE}
COPY program.py /
ENV SAGESTAGE_BASE_DIR=/opt/ml SAGESTAGE_HOST=0.0.0.0
ENTRYPOINT ["python", "/program.py"]
"""


def stub_image(program: str = "container.py", name: str = IMAGE) -> None:
    """Make the image; skip with the reason where no container can run."""
    need_image(INFERENCE)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name(program), Path(folder) / "program.py")
        (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
        docker.call("build", "--quiet", "--tag", name, folder, env={"DOCKER_BUILDKIT": "0"}, timeout_s=120)
