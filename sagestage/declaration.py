"""A resource that exists, as the lines of a program that declare it: what `sagestage import` prints."""

from __future__ import annotations

import importlib
import json
import keyword
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pulumi import _types

from infra.engine import Secret

INDENT = "    "


def python(type_: str, name: str, inputs: Mapping[str, Any], *, protect: bool) -> str:
    """The declaration of a resource of pulumi_aws with these inputs; secrets are left to the stack's configuration."""
    module, _, cls = type_.removeprefix("aws:").rpartition(":")
    module = module.partition("/")[0]
    place = "" if module == "index" else f".{module}"
    known = getattr(importlib.import_module("pulumi_aws"), module, None)
    args = getattr(known, f"{cls}Args", None)
    options = ["protect=True"] if protect else []
    lines = [f"aws{place}.{cls}(", f"{INDENT}{_value(name, None)},"]
    lines += [f"{INDENT}{key}={value}," for key, value in _fields(inputs, args)]
    lines += [f"{INDENT}opts=pulumi.ResourceOptions({', '.join(options)}),"] if options else []
    return "\n".join([*lines, ")"])


def _fields(values: Mapping[str, Any], cls: Any) -> Iterator[tuple[str, str]]:
    """Each property under its Python name."""
    names = {theirs: ours for ours, theirs in _types.input_type_py_to_pulumi_names(cls).items()} if cls else {}
    types = _types.input_type_types(cls) if cls else {}
    for key, value in sorted(values.items()):
        if not key.startswith("__") and value is not None:
            ours = names.get(key) or re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower()
            yield f"{ours}_" if keyword.iskeyword(ours) else ours, _value(value, types.get(key))


def _value(value: Any, type_: Any) -> str:
    if isinstance(value, Secret):
        return "config.require_secret(…)"
    if isinstance(value, list):
        return f"[{', '.join(_value(each, _input_type(type_)) for each in value)}]"
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    cls = _input_type(type_)
    if cls is None:  # a map whose keys are the user's own
        return f"{{{', '.join(f'{_value(key, None)}: {_value(each, None)}' for key, each in value.items())}}}"
    return f"{{{', '.join(f'{_value(key, None)}: {each}' for key, each in _fields(value, cls))}}}"


def _input_type(type_: Any) -> Any:
    """The class of arguments that a type is, or is a list of; None for anything else."""
    if isinstance(type_, type) and _types.is_input_type(type_):
        return type_
    if typing.get_origin(type_) in (None, dict) or "Mapping" in str(typing.get_origin(type_)):
        return None
    return next(filter(None, map(_input_type, typing.get_args(type_))), None)
