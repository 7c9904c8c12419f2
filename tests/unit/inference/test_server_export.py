"""Models that torch.export made: served with golden rows; nothing in their file runs code of its own."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from inference.contract import program
from inference.contract.artifact import load_directory, unpack
from inference.contract.errors import ArtifactError
from inference.model import load
from inference.settings import Settings

torch = pytest.importorskip("torch", reason="torch is not installed")
from tests.inference_support import artifacts, exported  # noqa: E402  # needs torch

GRAPH, WEIGHTS = program.GRAPH, program.CONFIGS[0]


@pytest.fixture(scope="module")
def module() -> Any:
    return exported.Attention()


@pytest.fixture(scope="module")
def written(module: Any) -> bytes:
    return exported.export(module)


def changed(written: bytes, changes: dict[str, Callable[[Any], Any]], **more: bytes) -> bytes:
    """The file with JSON members changed and others added."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            root, _, name = info.filename.partition("/")
            data = old.read(info)
            if name in changes:
                parsed = orjson.loads(data)
                changes[name](parsed)
                data = orjson.dumps(parsed)
            new.writestr(info.filename, data)
        for name, data in more.items():
            new.writestr(f"{root}/{name}", data)
    return file.getvalue()


def node(parsed: Any) -> Any:
    return parsed["graph_module"]["graph"]["nodes"][0]


def test_it_gives_the_modules_answers_for_any_number_of_rows(tmp_path: Path, module: Any, written: bytes) -> None:
    exported.pack(tmp_path / "model.tar.gz", module, written)
    model = load(tmp_path / "model.tar.gz", Settings(device="cpu"))
    model.verify()
    assert model.predictor.name == "export torch cpu"
    for count in (1, 2, 50):
        rows = artifacts.instances(exported.OF, count, start=7)
        features = model.features(model.read(rows))
        with torch.inference_mode():
            expected = module.eval()(torch.from_numpy(features)).double().numpy()
        np.testing.assert_allclose(model.predictor(features), expected, rtol=1e-5, atol=1e-6)


def test_cleaning_twice_changes_nothing_and_is_reproducible(module: Any, written: bytes) -> None:
    once = program.clean(written)
    assert program.clean(once) == once
    assert program.clean(exported.export(module)) == once
    assert b"stack_trace" not in once  # nor a path of the machine that exported it


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_pickled_sample_inputs_are_never_read(tmp_path: Path, module: Any, written: bytes) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    with zipfile.ZipFile(io.BytesIO(written)) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as new:
        for name, data in members.items():
            new.writestr(name, bomb if name.endswith(program.SAMPLES) else data)
    exported.pack(tmp_path / "model.tar.gz", module, file.getvalue())
    load(tmp_path / "model.tar.gz", Settings(device="cpu")).verify()
    assert not (tmp_path / "exploded").exists()


def test_guards_are_dropped(written: bytes) -> None:
    evil = changed(written, {GRAPH: lambda it: it.update(guards_code=["__import__('os').mkdir('x')"])})
    assert b"mkdir" not in program.clean(evil)


@pytest.mark.parametrize(
    ("member", "change", "words"),
    [
        (WEIGHTS, lambda it: next(iter(it["config"].values())).update(use_pickle=True), "pickle"),
        (WEIGHTS, lambda it: next(iter(it["config"].values())).update(path_name="../../etc/passwd"), "refused"),
        (GRAPH, lambda it: node(it).update(target="torch.os.system"), "target 'torch.os.system'"),
        (GRAPH, lambda it: node(it).update(target="torch.ops.aten.from_file.default"), "from_file"),
        (GRAPH, lambda it: node(it).update(target="#custom.op"), "SAGESTAGE_ENTRY"),
        (GRAPH, lambda it: node(it).update(name="x; import os"), "import os"),
        (GRAPH, lambda it: node(it)["inputs"][0].update(name="x=print()"), "print"),
        (
            GRAPH,
            lambda it: it["graph_module"]["graph"]["sym_int_values"].update(
                s0={"as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}}
            ),
            "expr_str",
        ),
        (
            GRAPH,
            lambda it: it["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec='[1, {"type": "collections.defaultdict", "context": "[]", "children_spec": []}]'
            ),
            "in_spec",
        ),
    ],
)
def test_what_could_run_code_is_refused(written: bytes, member: str, change: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ArtifactError, match="refused") as caught:
        program.clean(changed(written, {member: change}))
    assert words in str(caught.value)


def test_compiled_libraries_and_what_is_no_program_are_refused(written: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"model\.so"):
        program.clean(changed(written, {}, **{"data/aotinductor/model/model.so": b"\x7fELF"}))
    for noise in (b"", b"PK\x03\x04" + bytes(50), written[:-100], written[: len(written) // 2]):
        with pytest.raises(ArtifactError, match=r"readable|refused"):
            program.clean(noise)


def test_an_archive_whose_program_was_exchanged_is_damaged(tmp_path: Path, module: Any, written: bytes) -> None:
    exported.pack(tmp_path / "model.tar.gz", module, written)
    unpack(tmp_path / "model.tar.gz", tmp_path / "model")
    (tmp_path / "model" / "program.pt2").write_bytes(written)
    with pytest.raises(ArtifactError, match=r"program\.pt2 has sha256"):
        load_directory(tmp_path / "model")


def test_a_graph_for_one_number_of_rows_says_how_to_export_it(tmp_path: Path) -> None:
    fixed = exported.Attention(fixed=True)
    path = tmp_path / "model.tar.gz"
    exported.pack(path, exported.Attention(), exported.export(fixed, fixed=True))
    with pytest.raises(ArtifactError, match="dynamic_shapes"):
        load(path, Settings(device="cpu"))


def test_other_columns_than_the_manifest_says_are_refused(tmp_path: Path, module: Any, written: bytes) -> None:
    exported.pack(tmp_path / "model.tar.gz", module, written, outputs=2)
    with pytest.raises(ArtifactError, match=r"gives shape \(1, 1\)"):
        load(tmp_path / "model.tar.gz", Settings(device="cpu"))


def test_tensors_that_are_not_finite_never_serve(tmp_path: Path, module: Any) -> None:
    sick = exported.Attention()
    with torch.no_grad():
        sick.last.bias.fill_(float("nan"))
    exported.pack(tmp_path / "model.tar.gz", module, exported.export(sick))
    with pytest.raises(ArtifactError, match=r"last\.bias"):
        load(tmp_path / "model.tar.gz", Settings(device="cpu"))


def test_another_program_than_the_golden_rows_is_never_healthy(tmp_path: Path, module: Any) -> None:
    other = exported.Attention()
    with torch.no_grad():
        other.last.bias.add_(1.0)
    exported.pack(tmp_path / "model.tar.gz", module, exported.export(other))
    with pytest.raises(ArtifactError, match="golden answers"):
        load(tmp_path / "model.tar.gz", Settings(device="cpu")).verify()


def test_autocast_goes_for_programs_too(tmp_path: Path, module: Any, written: bytes) -> None:
    exported.pack(tmp_path / "model.tar.gz", module, written)
    predictor = load(tmp_path / "model.tar.gz", Settings(device="cpu", autocast="bf16")).predictor
    assert predictor.name == "export torch cpu bf16"
    features = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    with torch.inference_mode():
        exact = module.eval()(torch.from_numpy(features)).numpy()
    assert not np.array_equal(predictor(features), exact)
    np.testing.assert_allclose(predictor(features), exact, atol=0.05)


def test_a_gpu_serves_a_program(tmp_path: Path, module: Any, written: bytes) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    exported.pack(tmp_path / "model.tar.gz", module, written)
    model = load(tmp_path / "model.tar.gz", Settings(device="cuda"))
    features = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    expected = module.eval()(torch.from_numpy(features)).detach().double().numpy()
    np.testing.assert_allclose(model.predictor(features), expected, rtol=1e-3, atol=1e-4)
