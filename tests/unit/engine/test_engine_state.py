from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine import EngineError, Secret
from infra.engine.secrets import Crypter, passphrase
from infra.engine.state import Operation, Resource, Snapshot, resource_from_json, resource_to_json
from infra.engine.store import Store
from tests.engine_support.twin import PASSPHRASE, SALT

# What `pulumi config set --secret` of Pulumi 3.259.0 wrote under the verifier and passphrase beside it.
REAL_SALT = "v1:uF8ZDtzrfK8=:v1:NSuv6pv7Er2hnx9y:nUESU+t1TmJm5Onp2SoQmRuwXeoT/Q=="
REAL_SECRET = "v1:QpMMo56NnnVcJUbw:Yu/vJ0U78NZg4qppYv5vPyhRC6GW1H8AodXtayecUQEWLHfC"

A = Resource("urn:pulumi:dev::lab::t:i:T::a", "t:i:T", id="a", inputs={"p": Secret({"x": [1]})}, created="2020")
B = Resource("urn:pulumi:dev::lab::t:i:T::b", "t:i:T", id="b", dependencies=(A.urn,), protect=True)


def crypter(salt: str | None = SALT) -> Crypter:
    return Crypter(lambda: PASSPHRASE, salt)


def test_what_pulumi_encrypted_is_read() -> None:
    assert json.loads(Crypter(lambda: "x", REAL_SALT).decrypt(REAL_SECRET)) == "token-of-a-d802d55"


def test_a_secret_never_stands_in_the_file_and_keeps_its_ciphertext(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.json")
    store.save(Snapshot((A, B), (Operation(B, "updating"),)), crypter())
    text = store.path.read_text()
    assert '"x"' not in text
    again = store.load(crypter())
    assert again.resources == (A, B)
    assert again.pending == (Operation(B, "updating"),)
    store.save(again, crypter())
    assert json.loads(store.path.read_text())["deployment"]["resources"] == json.loads(text)["deployment"]["resources"]


def test_without_a_secret_no_key_is_derived_and_none_is_asked_for(tmp_path: Path) -> None:
    def asked() -> str:
        raise AssertionError("the passphrase was asked for")

    store = Store(tmp_path / "s.json")
    store.save(Snapshot((Resource("urn:x::y::t:i:T::a", "t:i:T"),)), Crypter(asked))
    assert len(store.load(Crypter(asked)).resources) == 1


def test_fields_that_the_engine_does_not_know_stay() -> None:
    data = {"urn": "urn:x", "type": "t", "custom": True, "sequenceNumber": 4, "inputs": {"a": None}}
    assert resource_to_json(resource_from_json(data, crypter()), crypter()) == data


def test_a_wrong_passphrase_is_told_before_anything_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.json")
    with pytest.raises(EngineError, match="incorrect passphrase"):
        store.save(Snapshot((B,)), Crypter(lambda: "other", SALT))
    assert not store.path.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda _: "[]", "no state"),
        (lambda text: text.replace('"version": 3', '"version": 4', 1), "state version 4, this engine reads 3"),
        (lambda text: text.replace("::a", "::c", 1), "needs urn:pulumi:dev::lab::t:i:T::a, which is not in the state"),
        (lambda text: text.replace('"type": "t:i:T"', '"typ": 1', 1), "not a state"),
        (lambda text: text.replace('"passphrase"', '"cloud"', 1), "secrets of type 'cloud'"),
        (lambda text: text.replace('ciphertext": "v1:', 'ciphertext": "v1:AAAA', 1), "cannot be decrypted"),
    ],
)
def test_a_state_that_is_damaged_is_told_with_the_way_out(tmp_path: Path, change: object, told: str) -> None:
    store = Store(tmp_path / "s.json")
    store.save(Snapshot((A, B)), crypter())
    store.path.write_text(change(store.path.read_text()))  # type: ignore[operator]
    with pytest.raises(EngineError, match=told) as caught:
        store.load(crypter())
    assert "\n" not in str(caught.value)


def test_a_second_operation_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.json")
    holder = (
        "import sys; from pathlib import Path; from infra.engine.store import Store\n"
        "with Store(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(EngineError, match=f"locked by process {process.pid}"), store.locked():
            pass
        process.kill()
    with store.locked():  # the kernel freed it
        assert store.path.with_suffix(".lock").read_text() == str(os.getpid())


def test_the_passphrase_is_the_users_or_a_random_one_that_only_its_owner_reads(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from a file\n")
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE": ""}, tmp_path) == ""
    assert passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "given")}, tmp_path) == "from a file"
    made = passphrase({}, tmp_path / "home")
    assert len(made) > 32
    assert passphrase({}, tmp_path / "home") == made
    assert stat.S_IMODE((tmp_path / "home" / "passphrase").stat().st_mode) == 0o600
    with pytest.raises(EngineError, match="PULUMI_CONFIG_PASSPHRASE_FILE"):
        passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "none")}, tmp_path)
