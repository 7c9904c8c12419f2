"""report.html: a window of production beside the training rows, worst columns first. One file, no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from inference.contract.metrics import Monitored
from inference.contract.schema import Kind
from training.monitor.findings import LEAST_ROWS, ColumnFinding, VariantFinding
from training.report import STYLE

if TYPE_CHECKING:
    from training.monitor.job import Outcome

WIDTH, HEIGHT, BASE = 300, 118, 96
SHOWN_COLUMNS, SHOWN_CELLS = 40, 14
ALARMING = 0.3
"""The index above which a Monitor's alarm fires."""

OWN_STYLE = """
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px;margin:14px 0}.cards figure{margin:0;padding:12px 14px}
.cards figure.hit{border-color:var(--bad);border-width:2px;padding:11px 13px}.cards h3{font-size:14px;margin:0;display:flex;justify-content:space-between;gap:8px}
.cards h3 b{font-variant-numeric:tabular-nums;white-space:nowrap}.then{fill:var(--soft);fill-opacity:.35}.now{fill:var(--one)}.hit .now{fill:var(--bad)}
.scale{stroke:var(--line);stroke-width:6;stroke-linecap:round}.lucky{stroke:var(--soft);stroke-width:6;stroke-linecap:round;stroke-opacity:.45}.value{fill:var(--one);stroke:var(--paper);stroke-width:1.5}.hit .value{fill:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:14px 0}.tile{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums}.tile.bad b{color:var(--bad)}.tile span{color:var(--soft);font-size:13px}.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 5px 0 14px}
.key i:first-child{margin-left:0}svg text.name{font-size:9.5px}
"""  # noqa: E501  # a style sheet
KEY = (
    '<p class="soft key"><i style="background:var(--soft);opacity:.4"></i>training rows'
    '<i style="background:var(--one)"></i>this window<i style="background:var(--bad)"></i>drifted: more than chance'
    " explains. The dot is the index, the grey bar below it what windows without drift reach (99 %, all columns"
    " together).</p>"
)


def page(outcome: Outcome) -> str:
    """The whole page."""
    title = f"{outcome.settings.endpoint}: drift"
    body = "\n".join(_body(outcome))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}{OWN_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _body(outcome: Outcome) -> Iterator[str]:
    hit = [one for one in outcome.findings if one.drifted]
    enough = any(one.known and one.enough for one in outcome.findings)
    word, tone = ("drift", "no") if hit else ("no drift", "yes") if enough else ("too little to say", "no")
    records = sum(one.records for one in outcome.findings)
    yield f"<h1>{escape(outcome.settings.endpoint)}</h1>"
    yield (
        f'<p class="soft">{records:,} captured records of {escape(str(outcome.settings.window))},'
        f" against the rows that each model learnt from. {outcome.made:%Y-%m-%d %H:%M UTC}.</p>"
        f'<p><span class="verdict {tone}">{word}</span></p>'
    )
    lines = [*outcome.notes, *outcome.problems.lines()]
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f"<section><h2>Worth knowing</h2><ul>{items}</ul></section>"
    for one in outcome.findings:
        if one.known:
            yield from _variant(one, dict(outcome.metrics[one.variant]))


def _variant(one: VariantFinding, metrics: dict[Monitored, float]) -> Iterator[str]:
    model = f"<span class='soft'>model {escape(one.version)}</span>"
    yield f"<h2 style='margin-top:26px'>{escape(one.variant)} {model}</h2>"
    yield f'<div class="tiles">{"".join(_tiles(one, metrics))}</div>'
    if one.drawn is not None:
        block = f"in blocks of {one.drawn.block:,} rows" if one.drawn.block < one.rows else "uncut"
        yield (
            f'<p class="soft">{one.rows:,} rows. In its slowest column rows stay alike for about'
            f" {one.drawn.time:,.0f}: there the window is worth {one.drawn.effective:,.0f} independent ones. Chance:"
            f" windows of as many training rows, drawn {block}.</p>{KEY}"
        )
    shown = [*([] if one.prediction is None else [one.prediction]), *one.columns]
    charts = [_card(column) for column in shown if column.scale.monitored and column.count][:SHOWN_COLUMNS]
    yield f'<div class="cards">{"".join(charts)}</div>'
    yield from _quality(one)
    yield _table(one)


def _tiles(one: VariantFinding, metrics: dict[Monitored, float]) -> Iterator[str]:
    def tile(value: str, name: str, *, bad: bool = False) -> str:
        return f'<div class="tile{" bad" if bad else ""}"><b>{value}</b><span>{name}</span></div>'

    yield tile(f"{metrics[Monitored.RECORDS_READ]:,.0f}", "records read")
    if (drift := metrics.get(Monitored.FEATURE_DRIFT)) is not None:
        columns = int(metrics[Monitored.DRIFTED_COLUMNS])
        yield tile(f"{columns} of {len(one.monitored)}", "columns drifted", bad=columns > 0)
        yield tile(f"{drift:.2f}", "worst column's index", bad=drift > ALARMING and columns > 0)
    if (drift := metrics.get(Monitored.PREDICTION_DRIFT)) is not None:
        hit = one.prediction is not None and one.prediction.drifted
        yield tile(f"{drift:.2f}", "index of the predictions", bad=hit)
    if (share := metrics.get(Monitored.MISSING_SHARE)) is not None:
        yield tile(f"{share:.1%}", "missing, worst column")
    for name in (Monitored.ACCURACY, Monitored.R2, Monitored.MAE, Monitored.LOG_LOSS):
        if (figure := one.quality.get(name)) is not None:
            yield tile(f"{figure.value:.3g}", f"{name} ({figure.low:.3g} to {figure.high:.3g})")


def _card(column: ColumnFinding) -> str:
    """One column's distributions, then and now, and its index beside chance."""
    scale = column.scale
    cells = [cell for cell in range(scale.size) if column.then[cell] > 0 or column.now[cell] > 0]
    if len(cells) > SHOWN_CELLS:
        cells = sorted(sorted(cells, key=lambda cell: -max(column.then[cell], column.now[cell]))[:SHOWN_CELLS])
    top = max((max(float(column.then[cell]), float(column.now[cell])) for cell in cells), default=1.0) or 1.0
    step = WIDTH / max(len(cells), 1)
    bars = []
    for place, cell in enumerate(cells):
        left = place * step
        then, now = (float(share[cell]) / top * (BASE - 8) for share in (column.then, column.now))
        bars.append(
            f'<rect class="then" x="{left + 1:.1f}" width="{step - 2:.1f}" y="{BASE - then:.1f}" height="{then:.1f}"/>'
            f'<rect class="now" x="{left + step * 0.3:.1f}" width="{step * 0.4:.1f}" y="{BASE - now:.1f}"'
            f' height="{now:.1f}"><title>{escape(scale.label(cell))}: {column.then[cell]:.1%} then,'
            f" {column.now[cell]:.1%} now</title></rect>"
            f'<text class="tick name" x="{left + step / 2:.1f}" y="{BASE + 13}">'
            f"{escape(_short(column, cell, step))}</text>"
        )
    chart = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(bars)}</svg>'
    hit = " class='hit'" if column.drifted else ""
    name = "predictions" if scale.name == "prediction" else scale.name
    chance = "" if column.chance is None else f" by chance {column.chance.mean:.3g}, at most {column.chance.bound:.3g}."
    marks = [
        f"{share:.1%} {word}"
        for share, word in (
            (column.missing, "missing"),
            (column.unseen, "unseen"),
            (column.outside, "out of range"),
            (column.violations, "of another type"),
        )
        if share >= 0.001
    ]
    means = _means(column)
    return (
        f"<figure{hit}><h3><span>{escape(name)}</span><b>{column.corrected:.3f}</b></h3>{chart}{_gauge(column)}"
        f"<figcaption>Index {column.index:.3g};{chance or ' too few rows for a verdict.'} {means}{', '.join(marks)}"
        "</figcaption></figure>"
    )


def _short(column: ColumnFinding, cell: int, step: float) -> str:
    """What stands below a bar, as far as it has room."""
    scale = column.scale
    if cell == scale.missing:
        text = "none"
    elif scale.by_level:
        text = scale.label(cell)
    else:
        edge = scale.edges[cell] if cell < len(scale.edges) else None
        text = "above" if edge is None else f"{edge:.3g}" if abs(edge) >= 100 else f"{edge:.2g}"
    return text[: max(int(step / 5), 2)]


def _means(column: ColumnFinding) -> str:
    if column.mean is None or column.scale.kind is Kind.CATEGORICAL:
        return ""
    return f"Mean {column.scale.mean:.4g} then, {column.mean:.4g} now. "


def _gauge(column: ColumnFinding) -> str:
    """The index on a scale, with the part that chance reaches."""
    most = max(column.index, 2 * ALARMING, 0.0 if column.chance is None else column.chance.bound) * 1.05
    value, lucky = column.index / most, 0.0 if column.chance is None else column.chance.bound / most
    left, width = 6, WIDTH - 12
    bar = (
        ""
        if column.chance is None
        else (f'<line class="lucky" x1="{left}" x2="{left + width * lucky:.1f}" y1="8" y2="8"/>')
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} 16" aria-hidden="true"><line class="scale" x1="{left}" x2="{left + width}" y1="8"'
        f' y2="8"/>{bar}<circle class="value" cx="{left + width * value:.1f}" cy="8" r="5"/></svg>'
    )


def _quality(one: VariantFinding) -> Iterator[str]:
    if one.judged is None:
        return
    if not one.quality:
        yield f"<section><h2>Quality</h2><p>{one.judged.whole.rows:,} rows have a label: too few to say.</p></section>"
        return
    names = list(one.quality)
    heads = "".join(f'<th class="n">{name}</th>' for name in names)

    def line(name: str, rows: int, figures: object) -> str:
        cells = "".join(
            f'<td class="n">{figure.value:.4g} <span class="soft">{figure.low:.3g} to {figure.high:.3g}</span></td>'
            if (figure := dict(figures).get(metric)) is not None  # type: ignore[call-overload]  # a mapping
            else '<td class="n soft">too few</td>'
            for metric in names
        )
        return f'<tr><td>{escape(name)}</td><td class="n">{rows:,}</td>{cells}</tr>'

    lines = line("all", one.judged.whole.rows, one.quality) + "".join(
        line(name, rows, figures) for name, (rows, figures) in one.segments.items()
    )
    yield (
        '<section><h2>Quality, where the truth is known</h2><div class="scroll"><table><tr><th></th>'
        f'<th class="n">rows</th>{heads}</tr>{lines}</table></div>'
        '<p class="soft">Intervals are 95 %, from batches of consecutive rows: rows that follow each other may be'
        " alike.</p></section>"
    )


def _table(one: VariantFinding) -> str:
    heads = ("index", "corrected", "by chance", "bound", "KS", "Jensen-Shannon", "missing", "unseen", "out of range",
             "other type")  # fmt: skip
    lines = "".join(
        f"<tr><td>{escape(column.scale.name)}"
        f"{'' if column.scale.monitored else ' <span class=soft>not monitored</span>'}</td>"
        f"{''.join(f'<td class=n>{cell}</td>' for cell in _cells(column))}</tr>"
        for column in (*([] if one.prediction is None else [one.prediction]), *one.columns)
    )
    if not one.enough:
        return f'<p class="soft">{one.rows:,} rows; {LEAST_ROWS} are needed for a verdict.</p>'
    return (
        '<section><h2>All columns</h2><div class="scroll"><table><tr><th>column</th>'
        f"{''.join(f'<th class=n>{head}</th>' for head in heads)}</tr>{lines}</table></div></section>"
    )


def _cells(column: ColumnFinding) -> Iterator[str]:
    luck = column.chance
    if column.scale.monitored:
        yield from (f"{column.index:.4f}", f"<b>{column.corrected:.4f}</b>")
        yield from ("-", "-") if luck is None else (f"{luck.mean:.4f}", f"{luck.bound:.4f}")
        yield from ("-" if column.ks is None else f"{column.ks:.3f}", f"{column.js:.3f}")
    else:
        yield from ("",) * 6
    yield from (f"{share:.2%}" for share in (column.missing, column.unseen, column.outside, column.violations))
