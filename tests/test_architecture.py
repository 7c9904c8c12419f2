"""The arrows of the design: who may import whom, read from the source and seen in a running process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("infra", "inference", "training", "sagestage", "stacks")

# package -> what no module within it may import
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "infra": ("sagestage", "training", "inference", "stacks", "torch", "ray"),
    "infra.engine": ("infra.cloud", "infra.provider", "boto3", "botocore", "moto", "pulumi_aws"),
    "infra.provider": ("infra.cloud", "infra.engine", "moto"),
    "infra.cloud": ("infra.engine", "infra.provider", "pulumi", "pulumi_aws"),
    "inference": ("sagestage", "training", "infra", "stacks", "pulumi", "pulumi_aws", "ray", "moto", "boto3"),
    "training": ("sagestage", "infra", "stacks", "pulumi", "pulumi_aws", "moto", "httptools"),
    "stacks": ("sagestage", "training", "inference", "infra.engine", "infra.provider", "infra.cloud", "boto3", "moto"),
}
COMPONENTS_MAY_NOT = ("torch", "ray", "moto", "boto3", "infra.engine", "infra.provider", "infra.cloud")
PURE = {
    "infra.spec": ("pulumi", "pulumi_aws"),
    "infra.limits": ("pulumi", "pulumi_aws"),
    "infra.plan": ("pulumi", "pulumi_aws"),
}
TORCH_MODULES = {
    "inference.predictors.torch",
    "training.loop",
    "training.ray_train",
    "training.tune",
    "training.evaluate",
}
RAY_MODULES = {"training.ray_train", "training.trainer", "training.cluster", "training.tune"}
CONTRACT_MAY = {"numpy", "pydantic", "safetensors", "orjson", "inference"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text(), str(path))


def imports(tree: ast.Module) -> set[str]:
    """Names imported anywhere in the file at run time: a TYPE_CHECKING block does not count."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def is_component(module: str) -> bool:
    return within(module, "infra") and not any(
        within(module, inner) for inner in ("infra.engine", "infra.provider", "infra.cloud")
    )


ALL = list(modules())
TRAINING = [pair for pair in ALL if within(pair[0], "training")]


@pytest.mark.parametrize(("module", "tree"), ALL, ids=[name for name, _ in ALL])
def test_imports_follow_the_arrows(module: str, tree: ast.Module) -> None:
    forbidden = [name for prefix, names in FORBIDDEN.items() if within(module, prefix) for name in names]
    forbidden += PURE.get(module, ())
    if is_component(module):
        forbidden += COMPONENTS_MAY_NOT
    if module not in TORCH_MODULES:
        forbidden.append("torch")
    if module not in RAY_MODULES:
        forbidden.append("ray")
    wrong = {(name, ban) for name in imports(tree) for ban in forbidden if within(name, ban)}
    wrong = {(name, ban) for name, ban in wrong if not (within(module, ban))}
    assert not wrong, f"{module} may not import {sorted(wrong)}"


@pytest.mark.parametrize(("module", "tree"), TRAINING, ids=[name for name, _ in TRAINING])
def test_training_meets_inference_only_in_the_contract(module: str, tree: ast.Module) -> None:
    met = {name for name in imports(tree) if within(name, "inference")}
    odd = {n for n in met if not (within(n, "inference.contract") or within(n, "inference.predictors.torch"))}
    assert odd <= {"inference", "inference.predictors"}, f"{module} imports {odd}"


def test_the_contract_needs_little() -> None:
    for module, tree in ALL:
        if within(module, "inference.contract"):
            roots = {name.partition(".")[0] for name in imports(tree)}
            foreign = {root for root in roots if root not in sys.stdlib_module_names}
            foreign -= {"pyarrow"} if module == "inference.contract.arrow" else set()  # imported only where it is used
            assert foreign <= CONTRACT_MAY, f"{module} imports {foreign - CONTRACT_MAY}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import inference.contract.artifact, inference.contract.codecs", ("torch", "pyarrow", "httptools", "pandas")),
        ("import inference.app", ("torch", "ray", "pulumi", "boto3", "pyarrow", "moto")),
        ("import infra", ("torch", "ray", "moto", "boto3", "aiohttp", "infra.engine")),
        ("import infra.engine", ("boto3", "moto", "torch", "pulumi_aws")),
        ("import infra.provider", ("moto", "torch", "infra.engine", "infra.cloud")),
        ("import infra.cloud.control", ("torch", "pulumi", "moto")),
        ("import training.config, training.demo", ("torch", "ray")),
        ("import sagestage.cli", ("torch", "ray", "pulumi", "moto", "boto3", "numpy", "infra", "training")),
    ],
)
def test_a_process_loads_only_what_it_needs(statement: str, absent: tuple[str, ...]) -> None:
    program = f"import sys; {statement}; print(*[name for name in {absent!r} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert answer.stdout.split() == []
