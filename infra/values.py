"""Frozen, validated values: the decorator that the specs are made with.

A spec is a pydantic dataclass, so that it can be written positionally. Types and single-field limits stand at the
fields; what concerns several fields is a rule: a function whose parameters are named after the fields that it reads.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from infra.errors import SpecError
from infra.limits import Limit

Rule = Callable[..., Iterable[str]]
T = TypeVar("T")

_CONFIG = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


FROZEN = AfterValidator(tuple)
"""For `Annotated[Sequence[…], FROZEN]`: written as a list or a tuple, kept as a tuple."""


def within(*limits: Limit) -> AfterValidator:
    """A field's limits, for `Annotated`: every one that the value breaks is reported."""

    def check(value: Any) -> Any:
        problems = [problem for limit in limits if (problem := limit.problem(value)) is not None]
        if problems:
            raise PydanticCustomError("limit", "{problem}", {"problem": ", and ".join(problems)})
        return value

    return AfterValidator(check)


@dataclass_transform(frozen_default=True)
def spec(*rules: Rule) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen value whose constructor raises one SpecError with every problem.

    Args:
        rules: checks over several fields; each runs when the fields that it names are valid by themselves.
    """

    def wrap(plain: type[T]) -> type[T]:
        made: Any = dataclass(config=_CONFIG, frozen=True)(plain)
        construct = made.__init__
        signature = inspect.signature(made)
        fields = list(signature.parameters)

        def __init__(self: object, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes the class's own
            problems: list[str] = []
            values: dict[str, Any] = {}
            try:
                construct(self, *args, **kwargs)
                values = dict(vars(self))
            except ValidationError as error:
                values = _given(signature, args, kwargs)
                for one in error.errors():
                    problems.append(_sentence(one, fields))
                    values.pop(_path(one, fields)[0], None)
            problems += _broken(rules, values)
            if problems:
                raise SpecError(f"{_title(plain, args, kwargs)}: {problem}" for problem in problems) from None

        __init__.__signature__ = signature  # type: ignore[attr-defined] # what help() and editors show
        made.__init__ = __init__
        finished: type[T] = made
        return finished

    return wrap


def _given(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by field, defaults included; none when they do not fit the signature at all."""
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def _broken(rules: Iterable[Rule], values: Mapping[str, Any]) -> Iterator[str]:
    for rule in rules:
        names = inspect.signature(rule).parameters
        if names.keys() <= values.keys():
            yield from rule(**{name: values[name] for name in names})


def _title(plain: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    name = kwargs.get("name", args[0] if args else None)
    own = plain.__name__.removesuffix("Spec")
    return f"{own} {name!r}" if isinstance(name, str) else own


def _path(error: Any, fields: list[str]) -> list[str]:
    """Where a pydantic error is: the field first. Positional arguments carry their index; unions name their member."""
    first, *rest = error["loc"] or ("it",)
    if isinstance(first, int) and first < len(fields):
        first = fields[first]
    return [str(first), *(str(part) for part in rest if isinstance(part, int))]


def _sentence(error: Any, fields: list[str]) -> str:
    """A pydantic error as `<field> <what is wrong>, got <value>`."""
    field = ".".join(_path(error, fields))
    match error["type"]:
        case "limit":
            return f"{field} {error['msg']}"
        case "missing" | "missing_argument" | "missing_keyword_only_argument" | "missing_positional_only_argument":
            return f"{field} is missing"
        case "unexpected_keyword_argument" | "extra_forbidden":
            return f"unknown argument {field!r}; it takes {', '.join(fields)}"
        case "unexpected_positional_argument":
            return f"one positional argument too many, got {error['input']!r}; it takes {', '.join(fields)}"
        case _:
            message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
            return f"{field} {message[0].lower()}{message[1:]}, got {error['input']!r}"
