"""report.html: what a run was and what came of it, for a person to look at. One file, nothing to load, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

import numpy as np

from inference.contract.schema import Floats, Task
from inference.contract.transform import Transform
from training import charts
from training.assess import Evaluation
from training.bootstrap import Interval
from training.config import TrainConfig
from training.features import Counts, LeftOut
from training.gate import Verdict
from training.quality import Quality

MAX_DOTS = 2_000
SHOWN_IMPORTANCES = 12
MAX_CONFUSION = 12

STYLE = """
:root{--ink:#1b2430;--soft:#5b6675;--line:#e3e7ec;--paper:#fff;--back:#f5f7f9;--one:#2463a8;--two:#d9762b;--good:#1d7a46;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#2d3742;--paper:#171d24;--back:#0f1419;--one:#6aa5e6;--two:#f0a063;--good:#5cc98a;--bad:#f2827a}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 2px}h2{font-size:17px;margin:0 0 10px}
p{margin:4px 0 10px}.soft,figcaption{color:var(--soft);font-size:13px}section,figure{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:14px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px}.pair>figure,.pair>section{margin:0;min-width:0}.pair{margin:14px 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th{font-weight:600;text-align:left;color:var(--soft);font-size:13px}
td,th{padding:4px 10px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right}.scroll{overflow-x:auto}
.verdict{display:inline-block;padding:2px 10px;border-radius:99px;font-weight:600;color:var(--paper)}.yes{background:var(--good)}.no{background:var(--bad)}
.good{color:var(--good)}.bad{color:var(--bad)}ul{margin:0;padding-left:18px}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}.tick{text-anchor:middle}.end{text-anchor:end!important}.label{text-anchor:middle}.legend{text-anchor:start}
.grid{stroke:var(--line)}.one,.two,.rule,.whisker{fill:none;stroke-width:2}.one{stroke:var(--one)}.two{stroke:var(--two)}.rule{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
.whisker{stroke:var(--ink);stroke-width:1}.dot circle{fill:var(--one);fill-opacity:.32}.big circle{fill:var(--one)}.bar{fill:var(--one);fill-opacity:.8}
.cell{text-align:right}
"""  # noqa: E501  # a style sheet


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """All that the page tells; `losses` are (training, validation) by epoch."""

    config: TrainConfig
    transform: Transform
    evaluation: Evaluation
    verdict: Verdict
    quality: Quality
    losses: Sequence[tuple[float, float]]
    best_epoch: int
    rows: dict[str, int]
    left_out: dict[str, LeftOut]
    counts: dict[str, Counts]
    warnings: Sequence[str]
    until: str | None
    made: datetime
    notes: Sequence[str] = ()


def page(story: Story) -> str:
    """The whole page."""
    title = f"{story.config.name}: {story.config.target}"
    body = "\n".join(_body(story))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _body(story: Story) -> Iterator[str]:
    config, verdict = story.config, story.verdict
    state = "passed" if verdict.passed else "missed"
    gates = f"gate {state}" if verdict.checks or verdict.against else "no gate"
    rows = ", ".join(f"{count:,} {part}" for part, count in story.rows.items())
    until = f" Trained on rows until {escape(story.until)}." if story.until else ""
    made = story.made.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    width = len(story.transform.feature_names)
    yield f"<h1>{escape(config.name)}</h1>"
    yield (
        f'<p class="soft">A {story.transform.table.task} of <b>{escape(config.target)}</b>'
        f" from {escape(config.data.name)}: {rows} rows, {width} features.{until} {made}.</p>"
        f'<p><span class="verdict {"yes" if verdict.passed else "no"}">{gates}</span></p>'
    )
    yield _metrics(story)
    if story.warnings or story.notes:
        items = "".join(f"<li>{escape(text)}</li>" for text in (*story.notes, *story.warnings))
        yield f"<section><h2>Worth knowing</h2><ul>{items}</ul></section>"
    yield f'<div class="pair">{_curve(story)}{_importances(story)}</div>'
    charted = _numbers(story) if story.transform.table.task is Task.REGRESSION else _classes(story)
    yield f'<div class="pair">{charted}</div>'
    if story.transform.table.task is Task.REGRESSION:
        yield f'<div class="pair">{_residuals(story)}{_calibration(story)}</div>'
    yield _segments(story)
    yield _profile(story)


def _metrics(story: Story) -> str:
    """Each metric with its interval, the baselines' and the gate's."""
    found = story.evaluation
    heads = "".join(f'<th class="n">{escape(rival.name)}</th>' for rival in found.baselines)
    lines = []
    for name, value in found.metrics.items():
        checks = [check for check in story.verdict.checks if check.gate.metric == name]
        said = ", ".join(
            f'<span class="{"good" if check.passed else "bad"}">{escape(str(check.gate))}'
            f" {'met' if check.passed else 'missed'}</span>"
            for check in checks
        )
        rivals = "".join(
            f'<td class="n">{_number(rival.metrics.get(name))} <span class="soft">'
            f"{_interval(rival.intervals.get(name))}</span></td>"
            for rival in found.baselines
        )
        lines.append(
            f'<tr><td>{name}</td><td class="n"><b>{_number(value)}</b> <span class="soft">'
            f"{_interval(found.intervals.get(name))}</span></td>{rivals}<td>{said or '-'}</td></tr>"
        )
    gains = "".join(
        f"<li>Against <b>{escape(rival.name)}</b> ({escape(rival.how)}): {_gain(rival.gain, rival.gain_interval)}.</li>"
        for rival in found.baselines
    )
    against = story.verdict.against
    if against is not None:
        tone = "good" if against.passed else "bad"
        gains += f'<li class="{tone}">{escape(str(against).capitalize())}.</li>'
    return (
        '<section><h2>On the test rows</h2><div class="scroll"><table><tr><th>metric</th><th class="n">model</th>'
        f"{heads}<th>gate</th></tr>{''.join(lines)}</table></div><ul>{gains}</ul>"
        f'<p class="soft">Brackets are 95 % intervals by the bootstrap, {escape(found.drawn)}.</p>'
        "</section>"
    )


def _gain(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "nothing to compare: the baseline makes no error"
    side = "lower" if value >= 0 else "higher"
    sure = "" if interval is None else f" {_interval(interval, percent=True)}"
    clear = interval is not None and (interval.low > 0 or interval.high < 0)
    return f"loss {abs(value):.1%} {side}{sure}{'' if clear else ', which may be chance'}"


def _curve(story: Story) -> str:
    losses = np.array(story.losses, dtype=np.float64).reshape(-1, 2)
    if not len(losses):
        return ""
    top = float(np.quantile(losses, 0.98)) if len(losses) > 3 else float(losses.max())
    plot = charts.Plot((1, len(losses)), (0.0, top * 1.05), ("epoch", "loss"), "Loss by epoch")
    for column, style in enumerate(("one", "two")):
        plot.line(((epoch, min(value, top)) for epoch, value in enumerate(losses[:, column].tolist(), 1)), style)
    if story.best_epoch:
        plot.line([(story.best_epoch, 0.0), (story.best_epoch, top * 1.05)], "rule")
    plot.legend([("one", "training"), ("two", "validation"), ("rule", f"kept: epoch {story.best_epoch}")])
    return _figure("Loss", str(plot), "Early stopping saw the validation rows, never the test rows.")


def _importances(story: Story) -> str:
    rows = [(one.column, one.growth, one.spread) for one in story.evaluation.importances[:SHOWN_IMPORTANCES]]
    chart = charts.bars(rows, "Permutation importance", lambda value: f"{value:+.0%}")
    return _figure("What it relies on", chart, "Growth of the test loss when a column's values are shuffled.")


def _numbers(story: Story) -> str:
    predicted, actual = story.evaluation.predicted.astype(float), story.evaluation.actual.astype(float)
    some = _some(len(actual))
    low, high = float(min(predicted.min(), actual.min())), float(max(predicted.max(), actual.max()))
    target = story.config.target
    plot = charts.Plot((low, high), (low, high), (f"actual {target}", "predicted"), "Predicted against actual")
    plot.line([(low, low), (high, high)], "rule")
    plot.dots(zip(actual[some].tolist(), predicted[some].tolist(), strict=True), "dot")
    last = slice(max(len(actual) - 200, 0), len(actual))
    line = charts.Plot(
        (0, last.stop - last.start - 1),
        (float(min(actual[last].min(), predicted[last].min())), float(max(actual[last].max(), predicted[last].max()))),
        (f"the last {last.stop - last.start} test rows", target),
        "The last test rows",
    )
    line.line(enumerate(actual[last].tolist()), "one")
    line.line(enumerate(predicted[last].tolist()), "two")
    line.legend([("one", "actual"), ("two", "predicted")])
    note = f"{len(some):,} of {len(actual):,} test rows." if len(some) < len(actual) else f"{len(actual):,} test rows."
    return _figure("Predicted against actual", str(plot), note) + _figure("The end of the test part", str(line), "")


def _residuals(story: Story) -> str:
    errors = story.evaluation.predicted.astype(float) - story.evaluation.actual
    chart = charts.histogram(errors, "Residuals", f"predicted - actual {story.config.target}")
    return _figure("Residuals", chart, f"Mean {errors.mean():+.3g}, standard deviation {errors.std():.3g}.")


def _calibration(story: Story) -> str:
    found = story.evaluation
    points = [(bin_.predicted, bin_.actual) for bin_ in found.calibration]
    values = [value for point in points for value in point]
    low, high = min(values), max(values)
    if story.transform.table.task is Task.CLASSIFICATION:
        high = 1.0
    plot = charts.Plot((low, high), (low, high), ("predicted", "came true"), "Calibration")
    plot.line([(low, low), (high, high)], "rule")
    plot.line(points, "one")
    plot.dots(points, "big", 3.5)
    return _figure("Calibration", str(plot), f"Tenths of the rows; mean distance {found.calibration_error:.3g}.")


def _classes(story: Story) -> str:
    found, names = story.evaluation, [str(name) for name in story.transform.classes]
    if len(names) > MAX_CONFUSION:
        return _calibration(story)
    heads = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    lines = []
    for index, name in enumerate([*names, "never seen"]):
        rows = found.actual == (index if index < len(names) else -1)
        total = int(rows.sum())
        if index == len(names) and not total:
            continue
        counts = np.bincount(found.predicted[rows].astype(np.int64), minlength=len(names))
        cells = "".join(
            f'<td class="cell" style="background:color-mix(in srgb,var(--{"one" if place == index else "two"})'
            f' {60 * count / max(total, 1):.0f}%,transparent)">{count:,}</td>'
            for place, count in enumerate(counts.tolist())
        )
        lines.append(f"<tr><th>{escape(name)}</th>{cells}<td class='n soft'>{total:,}</td></tr>")
    table = (
        f'<div class="scroll"><table><tr><th>actual \\ predicted</th>{heads}<th class="n">rows</th></tr>'
        f"{''.join(lines)}</table></div>"
    )
    return f"<section><h2>Which classes it takes for which</h2>{table}</section>{_calibration(story)}"


def _segments(story: Story) -> str:
    segments = story.evaluation.segments
    if not segments:
        return ""
    names = list(story.evaluation.metrics)
    heads = "".join(f'<th class="n">{name}</th>' for name in names)
    lines = "".join(
        f'<tr><td>{escape(one.column)}</td><td>{escape(one.value)}</td><td class="n">{one.rows:,}</td>'
        + "".join(f'<td class="n">{_number(one.metrics.get(name))}</td>' for name in names)
        + "</tr>"
        for one in segments
    )
    return (
        '<section><h2>By segment</h2><div class="scroll"><table><tr><th>column</th><th>value</th>'
        f'<th class="n">rows</th>{heads}</tr>{lines}</table></div></section>'
    )


def _profile(story: Story) -> str:
    lines = []
    for column in story.quality.columns:
        counts = story.counts.get(column.name, Counts())
        marks = "constant" if column.constant else ""
        role = "target" if column.name == story.config.target else marks
        lines.append(
            f"<tr><td>{escape(column.name)}</td><td>{column.kind}</td><td>{role}</td>"
            f'<td class="n">{column.missing:.1%}</td><td class="n">{_number(column.r2)}</td>'
            f'<td class="n">{counts.imputed:,}</td><td class="n">{counts.clipped:,}</td>'
            f'<td class="n">{counts.unseen:,}</td></tr>'
        )
    together = story.quality.together
    out = [
        f"{part}: {left.target} without a known target, {left.history} without their earlier rows,"
        f" {left.inputs} without an input"
        for part, left in story.left_out.items()
        if left.target or left.history or left.inputs
    ]
    balance = ", ".join(f"{escape(name)} {count:,}" for name, count in story.quality.balance.items())
    notes = [
        f"Least squares of all numeric columns has R² {together:.3f} on the same row." if together is not None else "",
        f"Rows that did not enter the loss: {escape('; '.join(out))}." if out else "",
        f"Training rows by class: {balance}." if balance else "",
    ]
    heads = "".join(
        f'<th class="n">{name}</th>' for name in ("missing", "R² alone", "imputed", "clipped", "never seen")
    )
    return (
        '<section><h2>The data</h2><div class="scroll"><table><tr><th>column</th><th>kind</th><th></th>'
        f"{heads}</tr>{''.join(lines)}</table></div>"
        f'<p class="soft">{" ".join(note for note in notes if note)}</p></section>'
    )


def _figure(title: str, chart: str, note: str) -> str:
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    return f"<figure><h2>{escape(title)}</h2>{chart}{caption}</figure>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _interval(interval: Interval | None, *, percent: bool = False) -> str:
    if interval is None:
        return ""
    if percent:
        return f"[{interval.low:+.1%}, {interval.high:+.1%}]"
    return f"[{interval.low:.4g}, {interval.high:.4g}]"


def _some(rows: int) -> Floats:
    """Rows to draw, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, MAX_DOTS)).round().astype(np.int64))
