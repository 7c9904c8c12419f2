"""Composite alarms: rules over the states of other alarms.

`ALARM("late") AND NOT (OK(errors) OR INSUFFICIENT_DATA("silence"))`, with TRUE and FALSE; names stand bare, in
double quotes, or as ARNs. Source: PutCompositeAlarm, AlarmRule.
"""

import re
from collections.abc import Callable, Iterator

from infra.cloud.alarms import ALARM, INSUFFICIENT, OK

States = Callable[[str], str]
Expression = Callable[[States], bool]
_TOKEN = re.compile(
    r'\s*(?:(?P<word>(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"(?P<quoted>[^"]+)"|(?P<bare>[^\s()"]+))\s*\))'
    r"|(?P<open>\()|(?P<close>\))|(?P<name>AND|OR|NOT|TRUE|FALSE)\b)"
)
_STATES = (INSUFFICIENT, ALARM, OK)


class RuleError(ValueError):
    """A rule that cannot be read; the message says where."""


def parse(rule: str) -> Expression:
    """A rule as a function of the states of alarms, by name.

    Raises:
        RuleError: it is no rule.
    """
    tokens = _tokens(rule)
    made, rest = _either(tokens, rule)
    if rest:
        raise RuleError(f"unexpected {rest[0][1]!r} in rule {rule!r}")
    return made


def children(rule: str) -> frozenset[str]:
    """The names of the alarms that a rule asks for."""
    return frozenset(name for kind, name in _tokens(rule) if kind in _STATES)


Tokens = list[tuple[str, str]]


def _tokens(rule: str) -> Tokens:
    return list(_scan(rule))


def _scan(rule: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(rule.rstrip())
    while position < end:
        found = _TOKEN.match(rule, position)
        if found is None:
            raise RuleError(f"cannot read {rule[position : position + 20].strip()!r} in rule {rule!r}")
        position = found.end()
        if found["word"]:
            kind = next(state for state in _STATES if found["word"].startswith(state))
            yield kind, (found["quoted"] or found["bare"]).rpartition(":alarm:")[2]
        else:
            text = found["open"] or found["close"] or found["name"]
            yield text, text


def _either(tokens: Tokens, rule: str) -> tuple[Expression, Tokens]:
    left, rest = _both(tokens, rule)
    while rest and rest[0][0] == "OR":
        right, rest = _both(rest[1:], rule)
        left = _or(left, right)
    return left, rest


def _both(tokens: Tokens, rule: str) -> tuple[Expression, Tokens]:
    left, rest = _single(tokens, rule)
    while rest and rest[0][0] == "AND":
        right, rest = _single(rest[1:], rule)
        left = _and(left, right)
    return left, rest


def _single(tokens: Tokens, rule: str) -> tuple[Expression, Tokens]:
    if not tokens:
        raise RuleError(f"rule {rule!r} ends too early")
    (kind, name), rest = tokens[0], tokens[1:]
    if kind in _STATES:
        return (lambda states: states(name) == kind), rest
    if kind in ("TRUE", "FALSE"):
        return (lambda _states: kind == "TRUE"), rest
    if kind == "NOT":
        inner, rest = _single(rest, rule)
        return (lambda states: not inner(states)), rest
    if kind == "(":
        inner, rest = _either(rest, rule)
        if rest and rest[0][0] == ")":
            return inner, rest[1:]
    raise RuleError(f"unexpected {name!r} in rule {rule!r}")


def _or(left: Expression, right: Expression) -> Expression:
    return lambda states: left(states) or right(states)


def _and(left: Expression, right: Expression) -> Expression:
    return lambda states: left(states) and right(states)
