"""Charts as SVG texts: nothing to load, and sharp at every size. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np

from inference.contract.schema import Floats

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 24, 44
LETTER = 6.2
"""Width of a letter of a legend, about."""
TICKS = 5


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between the bounds."""
    if not high > low:
        return [low]
    raw = (high - low) / TICKS
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1.0, 2.0, 5.0, 10.0) if size * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


class Plot:
    """A frame with two axes; what is drawn in it is clipped by nobody, so give its range."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], labels: tuple[str, str], title: str) -> None:
        self._x, self._y = _widened(x), _widened(y)
        name = escape(title)
        self._parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>']
        for value in ticks(*self._x):
            at = self.right(value)
            self._parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}">{short(value)}</text>')
        for value in ticks(*self._y):
            at = self.up(value)
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            self._parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{at + 4:.1f}">{short(value)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self._parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 6}">{escape(labels[0])}</text>')
        high = (TOP + HEIGHT - BOTTOM) / 2
        self._parts.append(
            f'<text class="label" transform="translate(13 {high}) rotate(-90)" x="0" y="0">{escape(labels[1])}</text>'
        )

    def right(self, value: float) -> float:
        """Where a value lies on the horizontal axis."""
        low, high = self._x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        """Where a value lies on the vertical axis."""
        low, high = self._y
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """A line through the points."""
        path = " ".join(f"{self.right(x):.1f},{self.up(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{style}" points="{path}"/>')

    def dots(self, points: Iterable[tuple[float, float]], style: str, radius: float = 1.6) -> None:
        """A dot at each point."""
        drawn = (f'<circle cx="{self.right(x):.1f}" cy="{self.up(y):.1f}" r="{radius}"/>' for x, y in points)
        self._parts.append(f'<g class="{style}">{"".join(drawn)}</g>')

    def bars(self, edges: Sequence[float], heights: Sequence[float], style: str) -> None:
        """A bar between each two edges, from zero."""
        base = self.up(max(self._y[0], 0.0))
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            x, width, top = self.right(left), self.right(right) - self.right(left), self.up(height)
            size = f'width="{max(width - 1, 0.5):.1f}" height="{max(base - top, 0):.1f}"'
            self._parts.append(f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" {size}/>')

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Names of styles, above the frame."""
        end = WIDTH - RIGHT
        for style, name in reversed(entries):
            self._parts.append(f'<text class="legend end" x="{end}" y="12">{escape(name)}</text>')
            start = end - LETTER * len(name) - 8
            self._parts.append(f'<line class="{style}" x1="{start - 18:.0f}" x2="{start:.0f}" y1="8" y2="8"/>')
            end = round(start - 32)

    def __str__(self) -> str:
        return "".join([*self._parts, "</svg>"])


def bars(rows: Sequence[tuple[str, float, float]], title: str, form: Callable[[float], str]) -> str:
    """Horizontal bars with a name, a value and a half width of its spread."""
    height, name_width, bar_width = 22, 150, WIDTH - 150 - 74
    most = max((value + spread for _, value, spread in rows), default=0.0) or 1.0
    parts = [f'<svg viewBox="0 0 {WIDTH} {height * len(rows) + 8}" role="img" aria-label="{escape(title)}">']
    parts.append(f"<title>{escape(title)}</title>")
    for number, (name, value, spread) in enumerate(rows):
        y = height * number + 4
        length = max(value, 0.0) / most * bar_width
        shown = name if len(name) <= 22 else f"{name[:21]}…"
        parts.append(f'<text class="tick end" x="{name_width - 6}" y="{y + 14}">{escape(shown)}</text>')
        parts.append(f'<rect class="bar" x="{name_width}" y="{y + 3}" width="{max(length, 1):.1f}" height="14"/>')
        if spread > 0.0:
            low, high = (name_width + max(v, 0.0) / most * bar_width for v in (value - spread, value + spread))
            parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}"/>')
        end = name_width + max(value + spread, 0.0) / most * bar_width + 6
        parts.append(f'<text class="legend" x="{end:.1f}" y="{y + 14}">{form(value)}</text>')
    return "".join([*parts, "</svg>"])


def histogram(values: Floats, title: str, label: str, bins: int = 40) -> str:
    """How often values occur; the outermost 0.5 % on each side share the last bins."""
    low, high = np.quantile(values, [0.005, 0.995]).tolist() if len(values) else (0.0, 1.0)
    low, high = _widened((low, high))
    counts, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    plot = Plot((low, high), (0.0, float(counts.max())), (label, "rows"), title)
    plot.bars(edges.tolist(), counts.tolist(), "bar")
    return str(plot)


def short(value: float) -> str:
    """A number of few digits for an axis."""
    if value != 0.0 and (abs(value) >= 100_000 or abs(value) < 0.001):
        return f"{value:.0e}"
    return f"{value:,.10g}" if abs(value) >= 1 else f"{value:.3g}"


def _widened(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    return (low, high) if high > low else (low - 0.5, low + 0.5)
