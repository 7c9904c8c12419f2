import os
import time
from pathlib import Path

import pytest

from infra.cloud.graphics import Gpus
from infra.cloud.usage import used


def test_what_a_process_uses_is_what_the_kernel_says() -> None:
    before, resident = used(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after, _ = used(os.getpid())
    assert after - before >= 0.05
    assert 1 << 20 < resident < 1 << 36


def test_a_process_that_is_gone_uses_nothing() -> None:
    assert used(2**22 + 1) == (0.0, 0)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("35, 20000, 80000\n65, 40000, 80000\n", {"GPUUtilization": 100.0, "GPUMemoryUtilization": 75.0}),
        ("", {}),
        ("[N/A], [N/A], 0\n", {}),
    ],
)
def test_gpus_add_up_as_the_machines_tool_tells_them(tmp_path: Path, said: str, found: dict[str, float]) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    tool.chmod(0o755)
    assert Gpus(str(tool)).ask() == found


def test_without_the_tool_there_are_no_gpus(tmp_path: Path) -> None:
    assert Gpus(str(tmp_path / "nvidia-smi")).ask() == {}
