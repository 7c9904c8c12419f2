"""Simple metric math: arithmetic, comparisons and the everyday functions over series, as GetMetricData has them.

A series maps the beginnings of periods to values. Operators join two series where both have data; an array of series,
`[m1, m2]` or `METRICS()`, is reduced point by point by SUM, AVG, MIN and MAX, which make a number of one series.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping

Series = Mapping[float, float]
Value = float | Series | list[Series]


class MathError(ValueError):
    """An expression that cannot be worked out; the message says why."""


_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_REDUCE: dict[str, Callable[[Iterable[float]], float]] = {
    "SUM": sum,
    "MIN": min,
    "MAX": max,
    "AVG": lambda values: sum(listed := list(values)) / len(listed),
}
_EACH: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": lambda value: float(-(-value // 1)),
    "FLOOR": lambda value: float(value // 1),
}


def evaluate(expression: str, known: Mapping[str, Series], moments: Iterable[float]) -> Series:
    """An expression over named series; a number becomes a series with it at every moment.

    Raises:
        MathError: it cannot be read, names what is not there, or uses what is not reproduced.
    """
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise MathError(f"cannot read expression {expression!r}") from error
    listed = list(moments)
    made = _value(tree.body, known, listed)
    if isinstance(made, list):
        raise MathError(f"expression {expression!r} gives {len(made)} series: only one is supported here")
    return dict.fromkeys(listed, made) if isinstance(made, float) else made


def names(expression: str) -> frozenset[str]:
    """The series that an expression refers to."""
    return frozenset(re.findall(r"\b[a-z][A-Za-z0-9_]*\b", expression))


def _value(node: ast.expr, known: Mapping[str, Series], moments: list[float]) -> Value:  # noqa: PLR0911 - one a kind
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.List(elts=items):
            return [_series(_value(item, known, moments), moments) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _joined(lambda a, b: a - b, 0.0, _value(inner, known, moments))
        case ast.BinOp(left=left, op=how, right=right) if type(how) in _BINARY:
            return _joined(_BINARY[type(how)], _value(left, known, moments), _value(right, known, moments))
        case ast.Compare(left=left, ops=[how], comparators=[right]) if type(how) in _COMPARE:
            compare = _COMPARE[type(how)]
            a, b = _value(left, known, moments), _value(right, known, moments)
            return _joined(lambda x, y: float(compare(x, y)), a, b)
        case ast.Call(func=ast.Name(id="METRICS"), args=[]):
            return list(known.values())
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _call(name, [_value(argument, known, moments) for argument in arguments], moments)
    raise MathError(f"{ast.unparse(node)!r} is not known, or not reproduced by the embedded cloud")


def _call(name: str, arguments: list[Value], moments: list[float]) -> Value:
    match name, arguments:
        case (("SUM" | "MIN" | "MAX" | "AVG"), [list() as several]):
            shared = sorted({moment for series in several for moment in series})
            return {t: _REDUCE[name](series[t] for series in several if t in series) for t in shared}
        case (("SUM" | "MIN" | "MAX" | "AVG"), [dict() as series]):
            return float(_REDUCE[name](series.values())) if series else 0.0
        case (("ABS" | "CEIL" | "FLOOR"), [dict() as series]):
            return {moment: _EACH[name](value) for moment, value in series.items()}
        case "FILL", [dict() as series, float() as filling]:
            return {moment: series.get(moment, filling) for moment in moments}
        case "IF", [condition, yes, *no]:
            return _chosen(_series(condition, moments), yes, no[0] if no else None, moments)
    raise MathError(f"{name} of {len(arguments)} arguments is not reproduced by the embedded cloud")


def _chosen(condition: Series, yes: Value, no: Value | None, moments: list[float]) -> Series:
    made: dict[float, float] = {}
    first, second = _series(yes, moments), {} if no is None else _series(no, moments)
    for moment, holds in condition.items():
        source = first if holds else second
        if moment in source:
            made[moment] = source[moment]
    return made


def _series(value: Value, moments: list[float]) -> Series:
    if isinstance(value, list):
        raise MathError("an array stands where one series is needed")
    return dict.fromkeys(moments, value) if isinstance(value, float) else value


def _joined(how: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if isinstance(left, list) or isinstance(right, list):
        raise MathError("arithmetic on arrays is not reproduced by the embedded cloud: reduce them with SUM or AVG")
    if isinstance(left, float) and isinstance(right, float):
        return how(left, right)
    carrier = right if isinstance(left, float) else left
    moments = [] if isinstance(carrier, float) else [at for at in carrier if _has(left, at) and _has(right, at)]
    made: dict[float, float] = {}
    for moment in moments:
        try:
            made[moment] = float(how(_at(left, moment), _at(right, moment)))
        except ZeroDivisionError:
            continue  # CloudWatch leaves such points out
    return made


def _has(value: float | Series, moment: float) -> bool:
    return isinstance(value, float) or moment in value


def _at(value: float | Series, moment: float) -> float:
    return value if isinstance(value, float) else value[moment]
