"""False alarms and detections of the monitor, by simulation: 20 columns, windows of 1,000 records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from inference.contract.metrics import Monitored
from inference.contract.schema import Floats, Kind, Task
from training.monitor import chance, findings
from training.monitor.baseline import HOURS, Baseline
from training.monitor.indices import psi
from training.monitor.scales import Codes, Scale, counted
from training.monitor.sums import SPANS, Sums
from training.monitor.tally import Tally

NUMBERS, CATEGORIES = 16, 4
SHARES = np.array([0.4, 0.25, 0.15, 0.1, 0.1])
RARE, OFTEN = 3, 0.2  # the level that goes from 10 to 20 %
CUTS = special.ndtri(np.cumsum(SHARES)[:-1])
ALARMING = 0.3
DAY = np.sin(np.arange(HOURS) * 2 * np.pi / HOURS) * 1.5


@dataclass
class Rates:
    """Windows (of coverage: models in them), and those of them in which something was said."""

    windows: int = 0
    hits: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, *, hit: bool) -> None:
        """Note whether something was said of one window."""
        self.hits[name] = self.hits.get(name, 0) + hit

    def share(self, name: str) -> float:
        """Of all windows."""
        return self.hits.get(name, 0) / self.windows


def rows(random: np.random.Generator, count: int, keep: float) -> Floats:
    """Standard normal rows of which each keeps so much of the one before."""
    noise = random.normal(size=(count, NUMBERS + CATEGORIES))
    if keep == 0.0:
        return noise
    made = np.empty_like(noise)
    made[0] = noise[0]
    step = np.sqrt(1.0 - keep**2)
    for row in range(1, count):
        made[row] = keep * made[row - 1] + step * noise[row]
    return made


class Model:
    """A baseline, and what is said of windows of one length."""

    def __init__(self, random: np.random.Generator, length: int, window: int, keep: float) -> None:
        values = rows(random, length, keep)
        deciles = np.quantile(values, np.arange(11) / 10.0, axis=0).T
        self.scales = [
            Scale.of_numbers(f"x{column}", Kind.NUMERIC, deciles[column].tolist(), 0.0, 1.0)
            for column in range(NUMBERS)
        ]
        self.scales += [Scale(name=f"c{number}", kind=Kind.CATEGORICAL, levels=tuple("abcde"))
                        for number in range(CATEGORIES)]  # fmt: skip
        self.sizes = [scale.size for scale in self.scales]
        codes = self.codes(values)
        self.counts = [counted(codes[:, column], size) for column, size in enumerate(self.sizes)]
        self.drawn = chance.draw(codes, self.sizes, window)

    def codes(self, values: Floats) -> Codes:
        """The cells of rows."""
        numbers = [scale.of(values[:, column]) for column, scale in enumerate(self.scales[:NUMBERS])]
        texts = [np.searchsorted(CUTS, values[:, NUMBERS + k]).astype(np.uint8) for k in range(CATEGORIES)]
        return np.column_stack([*numbers, *texts])

    def judge(self, codes: Codes) -> tuple[NDArray[np.bool_], Floats]:
        """Which columns drifted, and their corrected indices."""
        found = [
            float(psi(counted(codes[:, column], size), self.counts[column])) for column, size in enumerate(self.sizes)
        ]
        index = np.array(found)
        bounds = np.array([one.bound for one in self.drawn.columns])
        means = np.array([one.mean for one in self.drawn.columns])
        return index > bounds, np.maximum(index - means, 0.0)


def simulate(
    *,
    keep: float,
    baselines: int,
    windows: int,
    length: int = 20_000,
    window: int = 1_000,
    thin: int = 1,
    seed: int = 0,
) -> Rates:
    """Windows without drift (`false`), and with each of the shifts.

    Args:
        keep: autocorrelation of rows.
        baselines: how many are drawn.
        windows: of each baseline.
        length: rows of a baseline.
        window: rows of a window.
        thin: every so many-th row of the traffic is captured.
        seed: of the draws.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    rates = Rates()
    for _ in range(baselines):
        model = Model(random, length, window, keep)
        for _ in range(windows):
            values = rows(random, window * thin, keep)[::thin]
            rates.windows += 1
            for name, codes in _shifted(random, model, values):
                drifted, index = model.judge(codes)
                if name == "false":
                    rates.add(name, hit=bool(drifted.any()))
                else:
                    rates.add(name, hit=bool(drifted[0 if name != "category" else -1]))
                if name == "sigma":
                    rates.add("sigma index", hit=float(index.max()) > ALARMING)
    return rates


def _shifted(random: np.random.Generator, model: Model, values: Floats) -> Iterator[tuple[str, Codes]]:
    plain = model.codes(values)
    yield "false", plain
    for name, by in (("half", 0.5), ("sigma", 1.0)):
        moved = plain.copy()
        moved[:, 0] = model.scales[0].of(values[:, 0] + by)
        yield name, moved
    shares = SHARES * (1 - OFTEN) / (1 - SHARES[RARE])
    shares[RARE] = OFTEN
    moved = plain.copy()
    moved[:, -1] = random.choice(len(shares), size=len(values), p=shares)
    yield "category", moved


def uneven(
    *, baselines: int, windows: int, length: int = 20_000, window: int = 1_000, clock: bool = True, seed: int = 0
) -> Rates:
    """Windows without drift of columns that follow the day, with most of the traffic in the afternoon.

    Args:
        baselines: how many are drawn.
        windows: of each baseline.
        length: rows of a baseline.
        window: rows of a window.
        clock: whether windows are held against the same hours of the baseline, as the job does.
        seed: of the draws.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    busy = np.exp(1.5 * np.cos((np.arange(HOURS) - 15) * 2 * np.pi / HOURS))
    rates = Rates()
    for _ in range(baselines):
        base = _following(random, length, clock=clock)
        for _ in range(windows):
            at = random.choice(HOURS, size=window, p=busy / busy.sum())
            seen = random.normal(size=(window, len(base.monitored))) + DAY[at, None]
            tally = Tally.of(base)
            tally.add([(int(hour), *row) for hour, row in zip(at, seen.tolist(), strict=True)], [])
            rates.windows += 1
            rates.add("false", hit=bool(findings.of("main", "", tally, base, None).drifted))
    return rates


def _following(random: np.random.Generator, length: int, *, clock: bool) -> Baseline:
    """A baseline of columns that follow the day, and of the hour itself."""
    count = NUMBERS + CATEGORIES - 1
    hours = (np.arange(length) % HOURS).astype(np.uint8)
    values = random.normal(size=(length, count)) + DAY[hours, None]
    deciles = np.quantile(values, np.arange(11) / 10.0, axis=0).T
    scales = [Scale.of_numbers(f"x{k}", Kind.NUMERIC, deciles[k].tolist(), 0.0, 1.5) for k in range(count)]
    hour = Scale(name="hour", kind=Kind.INTEGER, monitored=False, levels=tuple(float(one) for one in range(HOURS)))
    return Baseline.packed(
        np.column_stack([scale.of(values[:, k]) for k, scale in enumerate(scales)]), None, hours, model="uneven",
        task=Task.REGRESSION, target="y", rows=length, columns=(hour, *scales), clock="hour" if clock else None,
        clock_is_time=False,
    )  # fmt: skip


NOISE = 0.5
RIGHT = 0.85
TRUE = {
    Monitored.MAE: NOISE * math.sqrt(2.0 / math.pi),
    Monitored.R2: 1.0 - NOISE**2,
    Monitored.ACCURACY: RIGHT,
    Monitored.LOG_LOSS: math.exp(NOISE**2 / 2.0),
}
"""Of models whose errors are normal, whose truth is standard normal, and whose losses are log-normal."""


def coverage(*, keep: float, windows: int, window: int = 1_000, seed: int = 0) -> Rates:
    """How often a metric's interval holds the truth: five models of each kind a window.

    Args:
        keep: autocorrelation of rows: of the truth, the errors and the losses.
        windows: how many.
        window: rows of a window.
        seed: of the draws.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    rates = Rates()
    for _ in range(windows):
        place = np.minimum((np.sort(random.uniform(size=window)) * SPANS).astype(np.int64), SPANS - 1)
        values = rows(random, window, keep)
        for pair in range(5):
            truth, error = values[:, pair], values[:, 5 + pair] * NOISE
            regression, classification = Sums(), Sums()
            regression.add(place, [np.abs(error), error**2, truth, truth**2])
            hits = values[:, 10 + pair] < special.ndtri(RIGHT)
            losses = np.exp(values[:, 15 + pair] * NOISE)
            classification.add(place, [hits.astype(np.float64), losses, np.ones(window)])
            figures = regression.figures(Task.REGRESSION) | classification.figures(Task.CLASSIFICATION)
            rates.windows += 1
            for metric, figure in figures.items():
                rates.add(metric, hit=figure.low <= TRUE[metric] <= figure.high)
    return rates
