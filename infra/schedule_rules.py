"""When a scheduled action runs: the forms that Application Auto Scaling takes, checked field by field.

Source: Application Auto Scaling, PutScheduledAction, and Amazon EventBridge's page on cron expressions.
"""

import re
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import NamedTuple

from infra import limits

_RATE = re.compile(r"rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_FORMS = "cron(<minutes> <hours> <day> <month> <weekday> <year>), rate(<n> <unit>) or at(<yyyy-mm-ddThh:mm:ss>)"
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class _Field(NamedTuple):
    """One of cron's six: its range, the names that stand for numbers, and what else it takes."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    more: str = ""


_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day", 1, 31, more=r"\?|L|LW|\d{1,2}W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 1, 7, _WEEKDAYS, r"\?|L|[1-7]L|[1-7]#[1-5]"),
    _Field("year", 1970, 2199),
)


def time_problems(when: str) -> Iterator[str]:
    """What is wrong with a time, as text for a SpecError."""
    if _RATE.fullmatch(when):
        return
    source = limits.SCHEDULE_SOURCE
    if at := _AT.fullmatch(when):
        try:
            datetime.fromisoformat(at[1])
        except ValueError as error:
            yield f"when must be a date that there is, got {when!r}: {error} ({source})"
    elif cron := _CRON.fullmatch(when):
        for field, text in zip(_FIELDS, cron.groups(), strict=True):
            if not all(_fits(field, part) for part in text.split(",")):
                bounds = f"{field.name} must lie within {field.low} to {field.high}"
                yield f"when: {bounds}, got {text!r} in {when!r} ({source})"
        if (cron[3] == "?") == (cron[5] == "?"):
            yield f"when must have ? for either the day or the weekday, got {when!r} ({source})"
    else:
        yield f"when must be {_FORMS}, got {when!r} ({source})"


def _fits(field: _Field, part: str) -> bool:
    if field.more and re.fullmatch(field.more, part):
        return True
    span, _, step = part.partition("/")
    if "/" in part and not (step.isdecimal() and 1 <= int(step) <= field.high):
        return False
    if span == "*":
        return True
    ends = [_number(field, end) for end in span.split("-")]
    return len(ends) in {1, 2} and all(end is not None and field.low <= end <= field.high for end in ends)


def _number(field: _Field, text: str) -> int | None:
    if text.upper() in field.names:
        return field.names.index(text.upper()) + field.low
    return int(text) if text.isdecimal() else None


def zone_problems(timezone: str) -> Iterator[str]:
    """What is wrong with a time zone."""
    if timezone not in _zones():
        yield f"timezone must be one of the IANA's, such as Europe/Berlin, got {timezone!r} ({limits.SCHEDULE_SOURCE})"


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
