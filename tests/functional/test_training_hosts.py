"""Two hosts of one job, as two network namespaces: each has its own address, loopback and base directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from training import container, demo, jobs
from training.prepared import prepare

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("10.123.77.1", "10.123.77.2")
pytestmark = pytest.mark.slow


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def pids(namespace: str) -> list[int]:
    return [int(found) for found in ip("netns", "pids", namespace).stdout.split()]


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two hosts with a cable between them; all that runs on them ends with the test."""
    mark = uuid4().hex[:6]
    names = (f"sagestage-{mark}-1", f"sagestage-{mark}-2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        made = [ip("netns", "add", name) for name in names]
    except FileNotFoundError:
        pytest.skip("there is no `ip` on this machine")
    if any(one.returncode for one in made):
        pytest.skip(f"no network namespaces here: {made[0].stderr.strip()}")
    try:
        ends = (f"sg{mark}a", f"sg{mark}b")
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "link", "set", end, "name", "eth0")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            for process in pids(name):
                os.kill(process, signal.SIGKILL)
            ip("netns", "del", name)


class Host:
    """The training container of one host."""

    def __init__(self, namespace: str, address: str, base: Path, deadline_s: str = "120", **settings: str) -> None:
        self.base = base
        (base / "input/config").mkdir(parents=True)
        demo.write(base / "input/data/training/demo.csv", rows=600)
        hyperparameters = {
            "target": demo.TARGET,
            "order": demo.ORDER[0],
            "name": "demand",
            "patience": "99",
            **settings,
        }
        (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
        resources = {"current_host": address, "hosts": list(ADDRESSES), "network_interface_name": "eth0"}
        (base / "input/config/resourceconfig.json").write_text(json.dumps(resources))
        environment = {**os.environ, "SAGESTAGE_BASE_DIR": str(base), "SAGESTAGE_HOSTS_DEADLINE_S": deadline_s}
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "training", "train"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                return
        raise AssertionError(f"never said {text!r}: {lines}")

    def finish(self) -> tuple[int, str]:
        text, _ = self.process.communicate(timeout=260)
        return self.process.returncode, text

    @property
    def failure(self) -> str:
        return (self.base / "output/failure").read_text()


def test_two_hosts_train_one_model_and_both_end(namespaces: tuple[str, str], tmp_path: Path) -> None:
    second = Host(namespaces[1], ADDRESSES[1], tmp_path / "b", epochs="3")
    (tmp_path / "a/checkpoints").mkdir(parents=True)
    first = Host(namespaces[0], ADDRESSES[0], tmp_path / "a", epochs="3")
    code, text = first.finish()
    assert code == 0, text
    assert "2 hosts are here" in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("epoch=")] == [
        "epoch=1", "epoch=2", "epoch=3"
    ]  # fmt: skip
    assert second.finish()[0] == 0
    assert (first.base / "model/weights.safetensors").exists()
    assert not (second.base / "model").exists(), "only the first host drives"
    assert not (second.base / "output/failure").exists()
    assert pids(namespaces[0]) == pids(namespaces[1]) == []
    config = container.read(first.base)
    with prepare(config.model_copy(update={"output": tmp_path / "here"})) as prepared:
        place = jobs.checkpoint(prepared, config, jobs.network(prepared, config), tmp_path)
    assert [str(path) for path in (first.base / "checkpoints").iterdir()] == [place], "named after the bits of features"


def test_a_lost_host_ends_the_job_with_its_name(namespaces: tuple[str, str], tmp_path: Path) -> None:
    second = Host(namespaces[1], ADDRESSES[1], tmp_path / "b", epochs="100000", patience="100000")
    first = Host(namespaces[0], ADDRESSES[0], tmp_path / "a", epochs="100000", patience="100000")
    first.until("epoch=2 ")
    for process in pids(namespaces[1]):  # the machine is gone
        os.kill(process, signal.SIGKILL)
    second.process.communicate()
    code, text = first.finish()
    assert code == 1
    assert first.failure == f"host {ADDRESSES[1]} was lost: its connection ended"
    assert first.failure in text
    assert "Traceback" not in text
    deadline = time.monotonic() + 20.0
    while pids(namespaces[0]) and time.monotonic() < deadline:  # the kernel may take a moment to bury the killed
        time.sleep(0.1)
    assert pids(namespaces[0]) == []


def test_a_host_that_does_not_come_is_named(namespaces: tuple[str, str], tmp_path: Path) -> None:
    first = Host(namespaces[0], ADDRESSES[0], tmp_path / "a", deadline_s="2")
    code, text = first.finish()
    assert code == 1
    assert first.failure == f"1 of 2 hosts came within 2 s: {ADDRESSES[1]} did not: look at its log"
    assert "Traceback" not in text


def test_a_first_host_that_cannot_be_reached_is_named(namespaces: tuple[str, str], tmp_path: Path) -> None:
    second = Host(namespaces[1], ADDRESSES[1], tmp_path / "b", deadline_s="2")
    assert second.finish()[0] == 1
    assert second.failure.startswith(f"host {ADDRESSES[0]}, which leads, could not be reached within 2 s")
