"""Starting, stopping and losing a cloud: real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from infra.cloud import control
from infra.cloud.errors import CloudError
from tests.cloud_support.helpers import CONTAINER, Cloud, alive, eventually, fetch_status, free_port, running


def test_a_cloud_outlives_the_process_that_started_it_and_stops_with_everything_it_started(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from infra.cloud import control;"
        f"print(control.start(Path({str(tmp_path)!r}), port={free_port()}, serve_command={CONTAINER!r}).pid)"
    )
    starter = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    info = control.status(tmp_path)
    assert info is not None
    assert info.pid == int(starter.stdout)
    assert httpx.get(f"{info.url}/_sagestage/health").json() == {"id": info.id}
    cloud = Cloud(info)
    endpoint = cloud.endpoint(cloud.config([{"ModelName": cloud.model(), "InitialInstanceCount": 2}]))
    pids = cloud.processes(endpoint)["main"]
    cloud.close()
    assert all(alive(pid) for pid in [info.pid, *pids])
    assert control.stop(tmp_path)
    assert not any(alive(pid) for pid in [info.pid, *pids])
    assert control.status(tmp_path) is None
    assert not (tmp_path / "cloud.json").exists()
    assert not control.stop(tmp_path)


def test_starting_twice_is_starting_once(tmp_path: Path) -> None:
    port = free_port()
    with ThreadPoolExecutor() as pool:
        starts = [pool.submit(control.start, tmp_path, port=port) for _ in range(2)]
        first, second = (start.result() for start in starts)
    try:
        assert first == second == control.status(tmp_path) == control.start(tmp_path)
        with pytest.raises(CloudError, match=f"max_instances 2 already runs at {first.url}, not 5: stop it first"):
            control.start(tmp_path, max_instances=5)
    finally:
        control.stop(tmp_path)


@pytest.mark.parametrize("victim", ["cloud", "watchdog"])
def test_instances_die_with_a_killed_cloud(tmp_path: Path, victim: str) -> None:
    with running(tmp_path) as cloud:
        endpoint = cloud.endpoint(cloud.config([{"ModelName": cloud.model()}]))
        if victim == "watchdog":
            os.kill(watchdog_of(cloud.info.pid), signal.SIGKILL)
            # The next instance makes the cloud notice, and its successor knows the others.
            changes = [{"VariantName": "main", "DesiredInstanceCount": 2}]
            client = cloud.client("sagemaker")
            client.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=changes)
            eventually(lambda: cloud.processes(endpoint)["main"], lambda pids: len(pids) == 2)
        pids = cloud.processes(endpoint)["main"]
        os.kill(cloud.info.pid, signal.SIGKILL)
        eventually(lambda: control.status(tmp_path), lambda found: found is None)
        eventually(lambda: [alive(pid) for pid in pids], lambda states: not any(states))
        # A killed cloud leaves its record; the next start is not misled by it.
        assert (tmp_path / "cloud.json").exists()
        fresh = control.start(tmp_path, port=free_port(), fresh=True)
        assert fresh.id != cloud.info.id
        assert control.status(tmp_path) == fresh
        assert fetch_status(fresh.url)["endpoints"] == []


def test_a_record_without_a_cloud_counts_for_nothing(tmp_path: Path) -> None:
    record = {"pid": os.getpid(), "id": "x", "port": 1, "url": "http://127.0.0.1:1"}
    (tmp_path / "cloud.json").write_text(json.dumps(record))
    assert control.status(tmp_path) is None
    assert not control.stop(tmp_path)


def test_a_port_that_is_taken_is_named_when_it_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CloudError, match=rf"127\.0\.0\.1 port {port} .*: choose another with --port"):
            control.start(tmp_path, port=port)
    assert control.status(tmp_path) is None


def test_a_port_that_was_not_asked_for_may_be_another(tmp_path: Path) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    try:
        infos = [control.start(home) for home in homes]
        assert infos[0].port != infos[1].port
    finally:
        for home in homes:
            control.stop(home)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])  # noqa: S104 - it is refused
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(CloudError, match=f"cannot listen on {host}: .*use 127.0.0.1"):
        control.start(tmp_path, host=host)


@pytest.mark.parametrize("settings", [{"port": 0}, {"port": 70_000}, {"max_instances": 0}])
def test_settings_that_cannot_be_are_refused(tmp_path: Path, settings: dict[str, int]) -> None:
    (value,) = settings.values()
    with pytest.raises(CloudError, match=f"got {value}"):
        control.start(tmp_path, **settings)  # type: ignore[arg-type] # one integer setting


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    with pytest.raises(CloudError, match=f"cannot use {home}"):
        control.start(home)


def watchdog_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if b"watchdog" in Path(f"/proc/{child}/cmdline").read_bytes())
