"""What a person sees while the stages run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

WIDTH = 18
"""Of the longest name of a stage."""
FIGURES = r"[\d.,]+"
Clock = Callable[[], float]


@dataclass
class Stage:
    """One stage under way: what it is at, how far it is, and the line that sums it up."""

    name: str
    summary: str = ""
    _update: Callable[[str, float | None, str], None] = field(default=lambda _text, _fraction, _detail: None)
    _remark: Callable[[str, str], None] = field(default=lambda _severity, _text: None)
    _remarked: set[str] = field(default_factory=set)

    def at(self, text: str, fraction: float | None = None, *, detail: str = "") -> None:
        """Show what the stage is at, and the fraction done (0..1) where it is known; `detail` for a terminal only."""
        self._update(text, fraction, detail)

    def remark(self, severity: str, text: str) -> None:
        """Show what somebody has to say about it, once: `info`, `warning` or `error`."""
        if text not in self._remarked:
            self._remarked.add(text)
            self._remark(severity, text)


class _Bars(Progress):
    """The bars of the stages under way, with something live below them."""

    below: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is shown."""
        yield from super().get_renderables()
        if self.below is not None:
            yield self.below


class Stages:
    """Shows stages one after the other and keeps their times.

    On a terminal a stage is a spinner and a bar until it ends; elsewhere it is a line when it comes to something new,
    and one at its end. Nothing is shown when `quiet`.
    """

    def __init__(self, console: Console, *, quiet: bool = False, clock: Clock = time.perf_counter) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._quiet = quiet
        self._clock = clock
        self._live: _Bars | None = None
        self._announced = ""

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self._quiet:
            self._live = _Bars(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("[dim]{task.fields[at]}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run a stage; its `summary` is shown when it ends, or a cross when it fails."""
        begin = self._clock()
        stage = Stage(name, _remark=self._remark)
        task = None
        if self._live is not None:
            live, task = self._live, self._live.add_task(f"{name:<{WIDTH}}", total=None, at="")

            def update(text: str, fraction: float | None, detail: str) -> None:
                shown = escape(f"{text} {detail}".rstrip())
                if fraction is None:
                    live.update(task, at=shown)
                else:
                    live.update(task, at=shown, total=1.0, completed=fraction)

            stage._update = update  # noqa: SLF001  # the stage's own sink, set by who shows it
        elif not self._quiet:
            stage._update = lambda text, _fraction, _detail: self._announce(name, text)  # noqa: SLF001  # likewise
        mark = "[red]✗[/]"
        try:
            yield stage
            mark = "[green]✓[/]"
        finally:
            self.seconds[name] = self._clock() - begin
            if self._live is not None and task is not None:
                self._live.remove_task(task)
            self.say(f"{mark} {name:<{WIDTH}} [dim]{self.seconds[name]:6.1f} s[/]  {escape(stage.summary)}")

    def say(self, line: str) -> None:
        """Print a line (rich markup) above the bars."""
        if not self._quiet:
            self.console.print(line, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a remark on something odd."""
        self.say(f"[yellow]![/] {escape(text)}")

    def _remark(self, severity: str, text: str) -> None:
        self.say(f"[dim]i[/] {escape(text)}") if severity == "info" else self.warn(text)

    def below(self, renderable: RenderableType | None) -> None:
        """Keep a table below the bars, in the place of the last one; nothing without a terminal."""
        if self._live is not None:
            self._live.below = renderable
            self._live.refresh()

    def show(self, renderable: RenderableType) -> None:
        """Print a table above the bars."""
        if not self._quiet:
            self.console.print(renderable)

    def _announce(self, name: str, text: str) -> None:
        """Without a terminal: a line when what the stage is at changes in more than its figures."""
        head = f"{name} {re.sub(FIGURES, '', text)}"
        if text and head != self._announced:
            self._announced = head
            self.say(f"  {name:<{WIDTH}} {escape(text)}")
