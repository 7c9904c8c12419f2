"""A rollout over time as three lines of text: who answered, how fast, and what the alarms said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sagestage import report
from sagestage.statistics import percentile

if TYPE_CHECKING:
    from sagestage.rollouts import Act

WIDTH = 48
BARS = " ▁▂▃▄▅▆▇█"


def bars(values: Sequence[float | None], highest: float) -> str:
    """Values as bars; a space where there is none, and a line for zero."""
    top = len(BARS) - 2
    return "".join(
        " " if value is None else BARS[1 + min(top, round(top * value / highest if highest else 0))] for value in values
    )


def rollouts_table(acts: Sequence[Act], scale: float) -> Table:
    """Every rollout over time."""
    made = report.table(
        f"Rollouts over time; waits and alarm periods passed {scale:g} times faster",
        "rollout", "seconds", "", f"from its beginning to its end, {WIDTH} steps", "at most", right=(1, 4),
    )  # fmt: skip
    for act in acts:
        shares, latencies, errors, alarms = _steps(act)
        slowest = max((value for value in latencies if value is not None), default=0.0)
        outcome = "[yellow]rolled back[/]" if act.stopped else "[green]promoted[/]"
        most = max((value or 0 for value in shares), default=0)
        made.add_row(act.name, f"{act.seen.seconds:.1f}", "new model", bars(shares, 1.0), f"{most:.0%}")
        made.add_row(outcome, "", "p95 ms", bars(latencies, slowest), f"{slowest:.0f}")
        if any(errors):
            made.add_row("", "", "errors", f"[red]{bars(errors, 1.0)}[/]", f"{max(value or 0 for value in errors):.0%}")
        if any(mark != "·" for mark in alarms):
            made.add_row("", "", "alarm", f"[red]{alarms}[/]", "")
        made.add_section()
    return made


def reasons(acts: Sequence[Act]) -> list[str]:
    """Why `up` failed, a line a rollout."""
    return [f"[bold]{act.name}[/]: {escape(act.stopped)}" for act in acts if act.stopped]


def _steps(act: Act) -> tuple[list[float | None], list[float | None], list[float | None], str]:
    """Per step: the new model's share of the answers (errors are the broken one's), p95, share of errors, alarms."""
    width = act.seen.seconds / WIDTH
    shares: list[float | None] = []
    latencies: list[float | None] = []
    errors: list[float | None] = []
    marks = ""
    for number in range(WIDTH):
        begin, end = number * width, (number + 1) * width
        calls = [call for call in act.seen.calls if begin <= call.at < end]
        count = len(calls)
        shares.append(sum(call.version == act.versions[1] for call in calls) / count if count else None)
        errors.append(sum(bool(call.error) for call in calls) / count if count else None)
        latencies.append(percentile([call.milliseconds for call in calls], 95) if count else None)
        looks = [look for look in act.seen.looks if begin <= look.at < end]
        marks += "A" if any(look.in_alarm for look in looks) else "R" if _rolling(looks) else "·"
    return shares, latencies, errors, marks


def _rolling(looks: Sequence[object]) -> bool:
    return any(getattr(look, "status", "") == "RollingBack" for look in looks)
