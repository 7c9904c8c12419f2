"""How a serving process starts, stops, and refuses to start."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from hashlib import sha256 as sha256_of
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from safetensors.numpy import load as load_weights
from safetensors.numpy import save as save_weights

from inference.contract import artifact
from inference.contract.artifact import Artifact, sha256
from tests.inference_support import artifacts, servers
from tests.inference_support.servers import ROOT

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model() -> Artifact:
    return artifacts.make(artifacts.plain_transform(4))


@pytest.fixture
def archive(model: Artifact, tmp_path: Path) -> Path:
    artifacts.pack(model, tmp_path / "model.tar.gz")
    return tmp_path / "model.tar.gz"


def refusal(arguments: list[str], **environment: str) -> str:
    """The one line that a server that must not start leaves on stderr."""
    usual = {"SAGESTAGE_HOST": "127.0.0.1", "SAGESTAGE_PREDICTOR": "numpy"}
    usual["SAGEMAKER_BIND_TO_PORT"] = str(servers.free_port())
    ended = subprocess.run(
        [sys.executable, "-m", "inference", "serve", *arguments],
        cwd=ROOT,
        env=os.environ | usual | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nothing'}: no model there" in refusal(["--model", str(tmp_path / "nothing")])


def test_without_an_argument_the_model_lies_in_the_base_directory(tmp_path: Path) -> None:
    assert str(tmp_path / "model") in refusal([], SAGESTAGE_BASE_DIR=str(tmp_path))


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_damaged_model_is_one_line(archive: Path, workers: str) -> None:
    archive.write_bytes(archive.read_bytes()[:500])
    assert "package the model again" in refusal(["--model", str(archive)], SAGEMAKER_MODEL_SERVER_WORKERS=workers)


def hostile(archive: Path, kind: str) -> None:
    """Write an archive that must not serve."""
    with tarfile.open(archive) as old:
        members = {info.name: old.extractfile(info).read() for info in old if info.isreg()}  # type: ignore[union-attr]
    links: list[tarfile.TarInfo] = []
    match kind:
        case "path":
            members["../outside"] = b"x"
        case "link":
            link = tarfile.TarInfo("golden.json")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            del members["golden.json"]
            links.append(link)
        case "digest":
            members["golden.json"] = members["golden.json"].replace(b"1", b"2")
        case "bomb":
            members["weights.safetensors"] = bytes(64 * 2**20)
        case "nan":
            weights = load_weights(members["weights.safetensors"])
            weights["layers.0.bias"][0] = np.nan
            members["weights.safetensors"] = save_weights(weights)
            manifest = orjson.loads(members["manifest.json"])
            manifest["files"]["weights.safetensors"] = sha256_of(members["weights.safetensors"]).hexdigest()
            members["manifest.json"] = orjson.dumps(manifest)
    with tarfile.open(archive, "w:gz") as new:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
        for link in links:
            new.addfile(link)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("path", "unexpected member '../outside'"),
        ("link", "unexpected member 'golden.json'"),
        ("digest", "golden.json has sha256"),
        ("bomb", "weights.safetensors has sha256"),
        ("nan", "layers.0.bias holds NaN"),
    ],
)
def test_a_hostile_archive_is_one_line(archive: Path, kind: str, words: str) -> None:
    hostile(archive, kind)
    assert words in refusal(["--model", str(archive)])
    assert not (archive.parent / "outside").exists()


def test_another_model_than_the_deployment_names_is_one_line(archive: Path) -> None:
    assert sha256(archive) in refusal(["--model", str(archive)], SAGESTAGE_MODEL_SHA256="0" * 64)


def test_wrong_settings_are_one_line(archive: Path) -> None:
    line = refusal(["--model", str(archive)], SAGEMAKER_MODEL_SERVER_WORKERS="0", SAGESTAGE_PREDICTOR="abacus")
    assert "SAGEMAKER_MODEL_SERVER_WORKERS='0'" in line
    assert "SAGESTAGE_PREDICTOR='abacus'" in line


def test_a_port_in_use_is_one_line(archive: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in refusal(["--model", str(archive), "--port", port])


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_port_that_another_of_our_servers_holds_is_in_use(archive: Path, tmp_path: Path, workers: str) -> None:
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MODEL_SERVER_WORKERS=workers) as server:
        assert "choose another with --port" in refusal(["--model", str(archive), "--port", str(server.port)])


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_model_that_fails_its_golden_rows_never_serves(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.setattr(artifact, "replay", lambda *_: None)  # pack refuses such a model
    golden = model.golden.model_copy(update={"predictions": [value + 1 for value in model.golden.predictions]})
    artifacts.pack(Artifact(model.manifest, model.weights, golden), tmp_path / "model.tar.gz")
    environment = {
        "SAGEMAKER_BIND_TO_PORT": str(servers.free_port()),
        "SAGEMAKER_MODEL_SERVER_WORKERS": workers,
    }
    line = refusal(["--model", str(tmp_path / "model.tar.gz")], **environment)
    assert "does not give its golden answers" in line


def test_help_shows_an_example() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "inference", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m inference serve --model" in shown.stdout


def test_a_numpy_server_imports_nothing_heavy(archive: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import inference.__main__, inference.worker, inference.supervisor
from inference.model import load
from inference.settings import Settings
load(Path({str(archive)!r}), Settings(predictor="numpy")).verify()
heavy = {{"torch", "ray", "pulumi", "pyarrow", "moto", "boto3", "pandas", "scipy"}} & set(sys.modules)
print(sorted(heavy))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"


def ping_until_it_fails(url: str) -> None:
    while True:
        httpx.get(f"{url}/ping")


@pytest.mark.parametrize("workers", ["1", "4"])
def test_requests_whose_body_is_under_way_at_sigterm_are_answered(
    archive: Path, model: Artifact, tmp_path: Path, workers: str
) -> None:
    instances = artifacts.instances(model.manifest.transform, 1)
    body = orjson.dumps({"instances": instances})
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MODEL_SERVER_WORKERS=workers) as server:
        lines = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(5)]
        for line in lines:
            line.sendall(head.encode() + b"expect: 100-continue\r\n\r\n")
            assert b"100 Continue" in line.recv(1000)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):  # the listener closes first
            ping_until_it_fails(server.url)
        for line in lines:
            line.sendall(body)
        expected = artifacts.answer(model, instances).values.tolist()
        for line in lines:
            answer = line.recv(10_000)
            while chunk := line.recv(10_000):
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 200 OK")
            received = orjson.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]
            np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)
            line.close()
        assert server.process.wait(20) == 0


@pytest.mark.parametrize("workers", ["1", "4"])
def test_sigterm_under_load_loses_no_answer(archive: Path, model: Artifact, tmp_path: Path, workers: str) -> None:
    body = orjson.dumps({"instances": artifacts.instances(model.manifest.transform, 3)})
    answered = [0] * 8
    enough = threading.Barrier(len(answered) + 1)
    others: list[int] = []

    def load(number: int, url: str) -> None:
        with httpx.Client(timeout=20) as client:
            while True:
                try:
                    answer = client.post(url, content=body, headers=JSON)
                except httpx.TransportError:
                    return  # the server is gone
                if answer.status_code != 200:
                    others.append(answer.status_code)
                answered[number] += 1
                if answered[number] == 20:
                    enough.wait(30)

    environment = {"SAGESTAGE_ACCESS_LOG": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": workers}
    with servers.running(archive, tmp_path / "log", **environment) as server:
        threads = [
            threading.Thread(target=load, args=(number, f"{server.url}/invocations")) for number in range(len(answered))
        ]
        for thread in threads:
            thread.start()
        enough.wait(30)
        assert server.stop() == 0
        for thread in threads:
            thread.join(30)
    lines = [orjson.loads(line) for line in server.log.read_text().splitlines()]
    served = [line["status"] for line in lines if line["event"] == "request" and line["path"] == "/invocations"]
    assert others == []
    assert set(served) == {200}
    assert sum(answered) == len(served)


@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_second_server_takes_the_port_over_at_once(archive: Path, tmp_path: Path, workers: str) -> None:
    with servers.running(archive, tmp_path / "log", SAGEMAKER_MODEL_SERVER_WORKERS=workers) as server:
        assert server.stop() == 0
        again = servers.start(archive, tmp_path / "log2", SAGEMAKER_BIND_TO_PORT=str(server.port))
        again.port = server.port
        try:
            servers.wait_ready(again)
        finally:
            again.process.kill()
            again.process.wait()
