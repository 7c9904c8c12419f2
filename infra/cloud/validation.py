"""Input validation against botocore's own service model, worded as AWS words it."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from infra.cloud.errors import AwsError, invalid

# Java's classes, which the service model uses, in Python's syntax. \w is a superset of letters and digits by one
# character, the underscore, which every pattern that uses these classes lists anyway.
_JAVA_CLASSES = {r"\p{L}": r"\w", r"\p{N}": r"\d", r"\p{Z}": r"\s", r"\p{ASCII}": r"\x00-\x7f", r"\z": r"\Z"}

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "structure": ((dict,), "a structure"),
    "map": ((dict,), "a map"),
    "list": ((list,), "a list"),
    "string": ((str,), "a String"),
    "integer": ((int,), "an Integer"),
    "long": ((int,), "a Long"),
    "float": ((int, float), "a Float"),
    "double": ((int, float), "a Double"),
    "boolean": ((bool,), "a Boolean"),
    "timestamp": ((int, float), "a Timestamp"),
}


@functools.cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    """Botocore's description of a service."""
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def operation(name: str) -> OperationModel:
    """A SageMaker control plane operation."""
    return service_model().operation_model(name)


def validate(name: str, params: Any) -> None:
    """Check the input of operation `name` as the service's front does.

    Raises:
        AwsError: SerializationException for a wrong type, ValidationException that lists every violated constraint.
    """
    shape = operation(name).input_shape
    problems = list(_problems(params, shape, "")) if shape else []
    if problems:
        count = len(problems)
        raise invalid(f"{count} validation error{'s' if count > 1 else ''} detected: {'; '.join(problems)}")


def _problems(value: Any, shape: Shape, path: str) -> Iterator[str]:
    types, noun = _TYPES.get(shape.type_name, ((object,), "a value"))
    fits = isinstance(value, types) and (shape.type_name == "boolean" or not isinstance(value, bool))
    if not fits:
        where = path or "the request"
        raise AwsError("SerializationException", f"Value {value!r:.80} at '{where}' can not be converted to {noun}")
    yield from _constraints(value, shape, path)
    if isinstance(shape, StructureShape):
        missing = [member for member in shape.required_members if value.get(member) is None]
        yield from (_problem("null", _join(path, member), "Member must not be null") for member in missing)
    for inner, inner_shape, inner_path in _members(value, shape, path):
        yield from _problems(inner, inner_shape, inner_path)


def _members(value: Any, shape: Shape, path: str) -> Iterator[tuple[Any, Shape, str]]:
    """What a value holds that has a shape of its own; unknown members are ignored, as the service does."""
    match shape:
        case StructureShape():
            for member, inner in value.items():
                if inner is not None and member in shape.members:
                    yield inner, shape.members[member], _join(path, member)
        case ListShape():
            for index, inner in enumerate(value, start=1):
                yield inner, shape.member, f"{path}.{index}.member"
        case MapShape():
            for key, inner in value.items():
                yield inner, shape.value, f"{path}.{key}.value"


def _constraints(value: Any, shape: Shape, path: str) -> Iterator[str]:
    rules = shape.metadata
    number = shape.type_name in ("integer", "long", "float", "double")
    if number or shape.type_name in ("string", "list", "map"):
        what, size = ("value", value) if number else ("length", len(value))
        if "min" in rules and size < rules["min"]:
            yield _problem(value, path, f"Member must have {what} greater than or equal to {rules['min']}")
        if "max" in rules and size > rules["max"]:
            yield _problem(value, path, f"Member must have {what} less than or equal to {rules['max']}")
    if "pattern" in rules and not _pattern(rules["pattern"]).fullmatch(value):
        yield _problem(value, path, f"Member must satisfy regular expression pattern: {rules['pattern']}")
    if "enum" in rules and value not in rules["enum"]:
        yield _problem(value, path, f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]")


def _problem(value: Any, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"


def _join(path: str, member: str) -> str:
    name = member[0].lower() + member[1:]
    return f"{path}.{name}" if path else name


@functools.cache
def _pattern(source: str) -> re.Pattern[str]:
    for java, python in _JAVA_CLASSES.items():
        source = source.replace(java, python)
    return re.compile(source)
