"""The loop over time: as bars in the terminal, and as one SVG with four lanes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from sagestage import report
from sagestage.picture import bars

if TYPE_CHECKING:
    from sagestage.drifting import Story

WIDTH, LEFT, RIGHT, TOP = 960, 156, 20, 104
LETTER = 6.4
LANE, GAP = 92, 22
STEPS = 60
BOUND, QUALITY_BOUND = 0.3, 0.7
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5b6675}.t{font-size:17px;font-weight:600;fill:#1b2430}"
    ".n{font-weight:600;fill:#1b2430}.g{stroke:#e3e7ec}.b{stroke:#b3261e;stroke-dasharray:5 4}"
    ".l{fill:none;stroke:#2463a8;stroke-width:2.5}.d{fill:#2463a8}.a{fill:#b3261e;fill-opacity:.16}"
    ".s{fill:#1d7a46;fill-opacity:.75}.o{fill:#2463a8;fill-opacity:.35}.e{stroke:#1b2430;stroke-width:1}"
    ".hit{fill:#b3261e}"
)


def table(story: Story) -> Table:
    """The loop in lines of bars."""
    made = report.table(
        f"The loop over time: {story.seconds:.0f} s, in which {story.seconds * story.scale / 3600:.1f} declared hours"
        " passed", "", f"from its beginning to its end, {STEPS} steps", "at most", right=(2,),
    )  # fmt: skip
    for name, metric in (("worst index", "FeatureDrift"), ("columns drifted", "DriftedColumns"), ("R²", "R2")):
        values = _held(story, metric)
        top = max((value for value in values if value is not None), default=0.0)
        drawn = bars([None if value is None else max(value, 0.0) for value in values], max(top, 1e-9))
        made.add_row(name, drawn, f"{top:.3g}")
    marks = "".join("A" if name else "·" for name in _alarming(story))
    made.add_row("drift alarm", f"[red]{marks}[/]", "")
    shares = _shares(story)
    made.add_row("new model", bars(shares, 1.0), f"{max((one or 0.0 for one in shares), default=0.0):.0%}")
    for event in story.events:
        made.add_row(f"{event.at:6.1f} s", event.what, "")
    return made


def _edges(story: Story) -> Iterator[tuple[float, float]]:
    width = max(story.seconds, 1.0) / STEPS
    return ((step * width, (step + 1) * width) for step in range(STEPS))


def _held(story: Story, metric: str) -> list[float | None]:
    """A metric by step: its last value until then."""
    points = story.points.get(metric, [])
    return [next((value for at, value in reversed(points) if at < end), None) for _, end in _edges(story)]


def _alarming(story: Story) -> list[bool]:
    """Whether the alarm was in ALARM, by step; where nobody looked, it is what it was."""
    found: list[bool] = []
    for begin, end in _edges(story):
        looks = ["champion-drift" in names for at, names in story.alarms if begin <= at < end]
        found.append(any(looks) if looks else bool(found and found[-1]))
    return found


def _shares(story: Story) -> list[float | None]:
    """The share of the new model's answers by step."""
    calls = [] if story.callers is None else story.callers.calls
    found: list[float | None] = []
    for begin, end in _edges(story):
        here = [call.version for call in calls if begin <= call.at - story.began < end and call.version]
        found.append(sum(one == story.successor for one in here) / len(here) if here and story.successor else 0.0)
    return found


def write(story: Story, path: Path) -> Path:
    """The picture as an SVG file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_svg(story)) + "\n", encoding="utf-8")
    return path


def _svg(story: Story) -> Iterator[str]:
    lanes = 4
    height = TOP + lanes * (LANE + GAP) + 24
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    yield f"<title>Drift, from the shift to the recovery</title><style>{STYLE}</style>"
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    yield '<text class="t" x="16" y="26">Traffic shifts, the alarm fires, a new model takes over</text>'
    hours = story.seconds * story.scale / 3600
    yield f'<text x="16" y="44">{story.seconds:.0f} s, in which {hours:.1f} declared hours passed</text>'
    for begin, end in _runs(story):
        yield (
            f'<rect class="a" x="{_x(story, begin):.1f}" width="{_x(story, end) - _x(story, begin):.1f}" y="{TOP - 8}"'
            f' height="{height - TOP - 20}"/>'
        )
    tops = [TOP + lane * (LANE + GAP) for lane in range(lanes)]
    yield from _lane(story, tops[0], "worst index", "FeatureDrift", BOUND, 0.0)
    yield from _lane(story, tops[1], "columns drifted", "DriftedColumns", None, 0.0)
    yield from _lane(story, tops[2], "R²", "R2", QUALITY_BOUND, min([0.0, *_values(story, "R2")]))
    yield from _answers(story, tops[3])
    ends = [0.0, 0.0, 0.0]  # how far the events in each line of texts reach
    for event in story.events:
        x, length = _x(story, event.at), LETTER * len(event.what)
        anchor = "end" if x + length > WIDTH - RIGHT else "start"
        left = x - length if anchor == "end" else x
        line = next((number for number, end in enumerate(ends) if end < left), len(ends) - 1)
        ends[line] = left + length
        y = 62 + 14 * line
        yield f'<line class="e" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 3}" y2="{height - 28}" stroke-opacity=".35"/>'
        aside = x + (-4 if anchor == "end" else 4)
        yield f'<text x="{aside:.1f}" y="{y}" text-anchor="{anchor}">{escape(event.what)}</text>'
    for mark in range(0, int(story.seconds) + 1, 60):
        yield f'<text x="{_x(story, mark):.1f}" y="{height - 8}" text-anchor="middle">{mark} s</text>'
    yield "</svg>"


def _x(story: Story, seconds: float) -> float:
    return LEFT + seconds / max(story.seconds, 1.0) * (WIDTH - LEFT - RIGHT)


def _values(story: Story, metric: str) -> list[float]:
    return [value for _, value in story.points.get(metric, [])]


def _lane(story: Story, top: float, name: str, metric: str, bound: float | None, low: float) -> Iterator[str]:
    points = story.points.get(metric, [])
    high = max([bound or 0.0, *(value for _, value in points), 1.0 if metric != "FeatureDrift" else 0.0]) * 1.1

    def y(value: float) -> float:
        return top + LANE - (value - low) / (high - low) * LANE

    yield f'<text class="n" x="16" y="{top + LANE / 2:.0f}">{escape(name)}</text>'
    for value in _ticks(low, high):
        yield f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
    if bound is not None:
        yield f'<line class="b" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}"/>'
    path = " ".join(f"{_x(story, at):.1f},{y(value):.1f}" for at, value in points)
    yield f'<polyline class="l" points="{path}"/>'
    for at, value in points:
        wrong = bound is not None and (value > bound if metric == "FeatureDrift" else value < bound)
        hit = wrong or (metric == "DriftedColumns" and value > 0)
        mark = "d hit" if hit else "d"
        yield f'<circle class="{mark}" cx="{_x(story, at):.1f}" cy="{y(value):.1f}" r="4"/>'


def _ticks(low: float, high: float) -> Sequence[float]:
    raw = (high - low) / 3
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1.0, 2.0, 5.0, 10.0) if size * factor >= raw)
    first = math.ceil(low / step)
    return [round((first + number) * step, 10) for number in range(int((high - first * step) / step) + 1)]


def _answers(story: Story, top: float) -> Iterator[str]:
    yield f'<text class="n" x="16" y="{top + LANE / 2:.0f}">answers</text>'
    yield f'<text x="16" y="{top + LANE / 2 + 16:.0f}" fill="#1d7a46">new model</text>'
    for (begin, end), share in zip(_edges(story), _shares(story), strict=True):
        x, width = _x(story, begin), _x(story, end) - _x(story, begin)
        new = (share or 0.0) * LANE
        yield f'<rect class="o" x="{x:.1f}" width="{width - 1:.1f}" y="{top}" height="{LANE - new:.1f}"/>'
        yield f'<rect class="s" x="{x:.1f}" width="{width - 1:.1f}" y="{top + LANE - new:.1f}" height="{new:.1f}"/>'


def _runs(story: Story) -> Iterator[tuple[float, float]]:
    """When the drift alarm was in ALARM."""
    begin: float | None = None
    for at, names in story.alarms:
        firing = "champion-drift" in names
        if firing and begin is None:
            begin = at
        if not firing and begin is not None:
            yield begin, at
            begin = None
    if begin is not None:
        yield begin, story.seconds
