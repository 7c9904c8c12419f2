"""Alarms against the tables of examples of CloudWatch's guide, 'Using Amazon CloudWatch alarms' (its archived text)."""

import pytest

from infra.cloud import composite
from infra.cloud.alarms import ALARM, INSUFFICIENT, OK, Point, Rule, enough_samples, evaluate

KEPT = "kept"
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def points(drawn: str) -> list[Point | None]:
    """`0 - X`: not breaching, missing, breaching."""
    return [{"0": Point(0), "X": Point(9), "-": None}[mark] for mark in drawn.split()]


def judged(drawn: str, missing: str, to_alarm: int) -> str:
    rule = Rule("GreaterThanThreshold", 5, periods=3, to_alarm=to_alarm, missing=missing)
    verdict = evaluate(rule, points(drawn), current=KEPT)
    return KEPT if verdict is None else verdict.state


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (OK, OK, OK, OK)),
        ("0 - - - -", (OK, OK, OK, OK)),
        ("- - - - 0", (OK, OK, OK, OK)),
        ("- - - - -", (INSUFFICIENT, KEPT, ALARM, OK)),
        ("0 X X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("- - X - -", (ALARM, KEPT, ALARM, OK)),
    ],
)
def test_three_of_three_as_in_the_guide(drawn: str, states: tuple[str, ...]) -> None:
    assert tuple(judged(drawn, missing, 3) for missing in TREATMENTS) == states


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 0 X 0 X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 - X - -", (OK, OK, ALARM, OK)),
        ("- - - - 0", (OK, OK, ALARM, OK)),
        ("- - - X -", (ALARM, KEPT, ALARM, OK)),
    ],
)
def test_two_of_three_as_in_the_guide(drawn: str, states: tuple[str, ...]) -> None:
    assert tuple(judged(drawn, missing, 2) for missing in TREATMENTS) == states


@pytest.mark.parametrize("drawn", ["- - - - X", "- - - X -"])
def test_a_single_young_breach_does_not_alarm_before_its_time(drawn: str) -> None:
    assert judged(drawn, "missing", 3) == KEPT


def test_a_percentile_of_few_samples_changes_nothing_when_told_to_ignore_it() -> None:
    few, many = Point(9, samples=199), Point(9, samples=200)
    rule = Rule("GreaterThanThreshold", 5, periods=1, to_alarm=1, percentile=95, ignore_few_samples=True)
    assert evaluate(rule, [None, None, few], OK) is None
    verdict = evaluate(rule, [None, None, many], OK)
    assert verdict is not None
    assert verdict.state == ALARM
    evaluated = Rule("GreaterThanThreshold", 5, periods=1, to_alarm=1, percentile=95)
    assert evaluate(evaluated, [None, None, few], OK) is not None


@pytest.mark.parametrize(("percent", "samples"), [(95, 200), (99, 1000), (50, 20), (10, 100), (None, 0)])
def test_how_many_samples_make_a_percentile_significant(percent: float | None, samples: float) -> None:
    assert enough_samples(percent) == pytest.approx(samples)


@pytest.mark.parametrize(
    ("comparison", "value", "state"),
    [
        ("GreaterThanThreshold", 5, OK),
        ("GreaterThanOrEqualToThreshold", 5, ALARM),
        ("LessThanThreshold", 5, OK),
        ("LessThanOrEqualToThreshold", 5, ALARM),
    ],
)
def test_a_value_on_the_threshold(comparison: str, value: float, state: str) -> None:
    verdict = evaluate(Rule(comparison, 5, 1, 1), [None, None, Point(value)], KEPT)
    assert verdict is not None
    assert verdict.state == state


def test_the_reason_is_cloudwatchs_sentence() -> None:
    verdict = evaluate(Rule("GreaterThanThreshold", 5, 2, 2), points("- - 0 X X"), OK)
    assert verdict is not None
    assert verdict.reason == (
        "Threshold Crossed: 2 out of the last 2 datapoints [9, 9] were greater than the threshold (5)"
        " (minimum 2 datapoints for OK -> ALARM transition)."
    )


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ('ALARM("late")', True),
        ("ALARM(late) AND OK(errors)", True),
        ("ALARM(errors) OR INSUFFICIENT_DATA(silent)", True),
        ("NOT ALARM(late)", False),
        ('ALARM("late") AND NOT (OK("errors") OR FALSE)', False),
        ("OK(late) OR OK(errors) AND ALARM(late)", True),
        ("ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:late)", True),
        ("TRUE", True),
    ],
)
def test_composite_rules(rule: str, holds: object) -> None:
    states = {"late": ALARM, "errors": OK, "silent": INSUFFICIENT}
    assert composite.parse(rule)(states.__getitem__) is holds


@pytest.mark.parametrize("rule", ["", "ALARM(late", "late", "ALARM(a) ALARM(b)", "AND OK(a)", "(OK(a)", "ALARM(a) OR"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(composite.RuleError):
        composite.parse(rule)
