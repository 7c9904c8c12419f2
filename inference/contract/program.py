"""A torch.export file (`.pt2`) as part of a model: what is left of it when nothing in it can run code of its own.

`torch.export.load` trusts its file. Read as it comes, a file can run code while it is loaded or used, by

- pickles: the sample inputs, and tensors or objects whose configuration says `use_pickle`;
- `guards_code`, Python source that is compiled, and names of nodes, which stand in generated source;
- expressions of symbolic sizes, which sympy evaluates;
- targets of nodes, which are looked up by name anywhere in torch, operators that read and write files among them;
- compiled libraries (AOTInductor) and extension types of containers.

`clean` keeps the graph, as JSON of which every string is checked, and the tensors, as plain bytes; it drops the sample
inputs, the guards and the metadata, which a server does not need, and refuses everything else. What it returns is what
goes to torch. It needs no torch itself, and cleaning twice changes nothing.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import orjson

from inference.contract.errors import ArtifactError

GRAPH = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
MARKS = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,6}")
MAX_BYTES = 4 * 2**30
MAX_GRAPH_BYTES = 64 * 2**20

WORD = re.compile(r"[\w.]*", re.ASCII)
TEXT = re.compile(r"[\w.,> <-]{0,200}", re.ASCII)
"""Arguments that are texts (`einsum`'s equation, a rounding mode); they stand in generated source as literals."""
VERSION = re.compile(r"[\w.+<=]{0,60}", re.ASCII)
EXPRESSION = re.compile(r"[\w+*/()', <>=&|~-]{0,2000}", re.ASCII)
SYMBOL = re.compile(r"[su]\d{1,9}|zuf\d{1,9}|\d+")
FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "Symbol Integer Add Mul Pow Max Min Mod FloorDiv CeilDiv CleanDiv PythonMod ModularIndexing Abs Eq Ne Lt Le Gt"
        " Ge And Or Not Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan True False true false"
        " oo int_oo integer positive nonnegative real",
    )
)
"""What sympy may evaluate beside symbols of sizes: functions of integers, sympy's own and torch's."""
OPERATOR = re.compile(r"torch\.ops\.(?:aten|prims)\.([A-Za-z_]\w*)\.\w+", re.ASCII)
OTHER_OPERATORS = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
    r"|math\.(ceil|floor|trunc)|torch\.sym_(min|max|int|float|not|ite|sum|sqrt)"
)
FILE_OPERATORS = frozenset(("from_file", "save", "load", "_print", "warn"))
CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def clean(content: bytes) -> bytes:
    """The same program with nothing in it that could run code of its own.

    Raises:
        ArtifactError: not a torch.export file, or it needs what is refused; the message says what and the remedy.
    """
    members = dict(_members(content))
    if GRAPH not in members:
        raise ArtifactError(f"the program holds no {GRAPH}: write it with torch.export.save(…, 'model.pt2')")
    members[GRAPH] = _graph(_json(members[GRAPH], GRAPH))
    for name in CONFIGS:
        members[name] = _config(_json(members.get(name, b'{"config": {}}'), name))
    members[SAMPLES] = b""
    return _packed(members)


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name (without the archive's root) and bytes of every member that is kept."""
    total, seen = 0, set()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for info in file.infolist():
                name = info.filename.partition("/")[2]
                if name not in (GRAPH, SAMPLES, *CONFIGS, *MARKS) and not TENSOR.fullmatch(name):
                    odd = info.filename[:100]
                    raise ArtifactError(
                        f"the program holds {odd!r}: refused; export torch's operators and tensors only"
                    )
                total += info.file_size
                if total > MAX_BYTES or (name == GRAPH and info.file_size > MAX_GRAPH_BYTES) or name in seen:
                    raise ArtifactError(f"the program's {name} is too large, or there twice: refused")
                seen.add(name)
                if name != SAMPLES:
                    yield name, file.read(info)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"the program is not a readable .pt2 file ({error}): export it again") from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"the program's {name} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ArtifactError(f"the program's {name} is no object: export it again")
    return parsed


def _graph(program: dict[str, Any]) -> bytes:
    program["guards_code"] = []
    _check(program, "")
    return orjson.dumps(program)


def _config(parsed: dict[str, Any]) -> bytes:
    entries = parsed.get("config")
    if set(parsed) != {"config"} or not isinstance(entries, dict):
        raise ArtifactError("the program's tensors are not described as expected: export it again")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise ArtifactError(
                f"the program stores {name[:100]!r} as a pickle: refused; export plain tensors only (no subclasses, no"
                " objects)"
            )
        if not re.fullmatch(r"(weight|tensor)_\d{1,6}", str(entry.get("path_name"))):
            raise ArtifactError(f"the program stores {name[:100]!r} as {entry.get('path_name')!r}: refused")
    _check(parsed, "")
    return orjson.dumps(parsed)


def _check(value: Any, key: str) -> None:
    """Empty all metadata; raise ArtifactError at the first string that is not of the form that its key allows."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not WORD.fullmatch(name):
                raise ArtifactError(f"the program names something {name[:100]!r}: refused")
            if name == "metadata":
                value[name] = {}
            else:
                _check(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    match key:
        case "target":
            known = OPERATOR.fullmatch(text)
            good = known[1] not in FILE_OPERATORS if known else bool(OTHER_OPERATORS.fullmatch(text))
        case "expr_str":
            names = re.findall(r"\w+", text)
            good = EXPRESSION.fullmatch(text) is not None and all(
                SYMBOL.fullmatch(name) or name in FUNCTIONS for name in names
            )
        case "in_spec" | "out_spec":
            good = text == "" or _plain_containers(text)
        case "as_string" | "as_strings":
            good = TEXT.fullmatch(text) is not None
        case "torch_version":
            good = VERSION.fullmatch(text) is not None
        case _:
            good = WORD.fullmatch(text) is not None
    if not good:
        raise ArtifactError(
            f"the program's {key} {text[:100]!r} is refused: a graph of torch's own operators (aten, prims) is served;"
            " anything else is served by Python code of yours (SAGESTAGE_ENTRY)"
        )


def _plain_containers(spec: str) -> bool:
    """Whether a description of inputs or outputs names tuples, lists and dicts only."""
    try:
        _, root = orjson.loads(spec)
    except (orjson.JSONDecodeError, ValueError, TypeError):
        return False
    pending = [root]
    while pending:
        node = pending.pop()
        if not isinstance(node, dict) or node.get("type") not in CONTAINERS:
            return False
        if not TEXT.fullmatch(str(node.get("context")).translate({ord(mark): None for mark in '"[]'})):
            return False
        pending.extend(node.get("children_spec", []))
    return True


def _packed(members: dict[str, bytes]) -> bytes:
    """An archive as torch reads it, without times, so that the same content gives the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted(members):
            packed.writestr(zipfile.ZipInfo(f"program/{name}"), members[name])
    return file.getvalue()
