"""Generated data to try the toolkit on: hourly demand of a bicycle hire, 10,000 hours from 2024-04-01.

| column      | meaning                                                                             |
|-------------|-------------------------------------------------------------------------------------|
| timestamp   | the hour, ISO 8601: orders the rows                                                 |
| temperature | degrees Celsius: a yearly and a daily cycle, and weather that lasts for days        |
| humidity    | percent; about 1 in 200 hours is missing, as when a sensor fails                    |
| windspeed   | km/h, skewed; a few hours of storm lie far outside                                  |
| weather     | clear, cloudy, rain or storm                                                        |
| promotion   | 1 on days with a promotion                                                          |
| holiday     | 1 on public holidays                                                                |
| demand      | hires in that hour, the target: Poisson counts around the product of all the above,  |
|             | a slow growth, and a level of interest that drifts from hour to hour                |

What is left to chance (the Poisson counts and the steps of the drift) is a few hundredths of the variance: a good
model reaches an R² of about 0.95. The same seed gives the same file, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from inference.contract.schema import Floats

ROWS = 10_000
TARGET = "demand"
ORDER = ("timestamp",)
HEADER = ("timestamp", "temperature", "humidity", "windspeed", "weather", "promotion", "holiday", "demand")
START = datetime(2024, 4, 1)  # noqa: DTZ001  # local hours, as in most real files
WEATHER = ("clear", "cloudy", "rain", "storm")
HOLIDAYS = ((1, 1), (5, 1), (7, 4), (11, 11), (12, 25), (12, 26))
_WEATHER_FACTOR = np.array([1.0, 0.9, 0.55, 0.3])
_WORKDAY = np.array(
    [6, 4, 3, 2, 3, 10, 35, 85, 130, 80, 52, 55, 65, 62, 58, 66, 98, 150, 132, 90, 62, 44, 30, 16], dtype=np.float64
)
_WEEKEND = np.array(
    [18, 13, 9, 5, 3, 4, 8, 16, 32, 54, 76, 94, 104, 106, 102, 98, 90, 80, 68, 54, 42, 34, 28, 22], dtype=np.float64
)


def write(path: Path, *, rows: int = ROWS, seed: int = 0) -> Path:
    """Write the data as CSV, whole or not at all, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="ascii", newline="\n") as file:
            file.write(",".join(HEADER) + "\n")
            file.writelines(lines(rows=rows, seed=seed))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def lines(*, rows: int = ROWS, seed: int = 0) -> Iterator[str]:
    """The rows as lines of CSV, without the header."""
    random = np.random.Generator(np.random.PCG64(seed))
    times = [START + timedelta(hours=hour) for hour in range(rows)]
    hours = np.array([time.hour for time in times])
    yearday = np.array([time.timetuple().tm_yday for time in times])
    days = np.arange(rows) // 24
    holiday = np.array([_is_holiday(time.date()) for time in times])
    free = holiday | np.array([time.weekday() >= 5 for time in times])  # Saturday and Sunday
    promotion = (random.random(days[-1] + 1) < 0.08)[days]

    front = _drift(random, rows, keep=0.985, step=0.18)  # weather that lasts for days
    temperature = 11.0 - 10.0 * np.cos(2 * np.pi * (yearday - 20) / 365) - 4.0 * np.cos(2 * np.pi * (hours - 3) / 24)
    temperature += 3.5 * front + random.normal(0.0, 0.6, rows)
    humidity = np.clip(68.0 - 9.0 * front - 0.7 * (temperature - 11.0) + random.normal(0.0, 6.0, rows), 15.0, 100.0)
    windspeed = random.gamma(3.0, 4.0, rows) * np.where(random.random(rows) < 0.003, 4.0, 1.0)
    gloom = -front + 0.35 * random.normal(0.0, 1.0, rows)
    weather = np.searchsorted([0.3, 1.0, 2.2], gloom)

    expected = np.where(free, _WEEKEND[hours], _WORKDAY[hours]) * _WEATHER_FACTOR[weather]
    expected *= np.exp(-(((temperature - 21.0) / 18.0) ** 2)) * np.exp(-0.012 * np.clip(windspeed, 0.0, 45.0))
    expected *= np.where(promotion, 1.35, 1.0) * (1.0 + 0.25 * np.arange(rows) / 8_760.0)
    expected *= np.exp(_drift(random, rows, keep=0.97, step=0.03))
    demand = random.poisson(4.0 * expected)

    missing = random.random(rows) < 0.005
    for row, time in enumerate(times):
        damp = "" if missing[row] else f"{humidity[row]:.1f}"
        flags = f"{int(promotion[row])},{int(holiday[row])}"
        yield (
            f"{time.isoformat()},{temperature[row]:.1f},{damp},{windspeed[row]:.1f},"
            f"{WEATHER[weather[row]]},{flags},{demand[row]}\n"
        )


def _is_holiday(day: date) -> bool:
    return (day.month, day.day) in HOLIDAYS


def _drift(random: np.random.Generator, rows: int, *, keep: float, step: float) -> Floats:
    """A first-order autoregression: what one hour is stays `keep` of the next."""
    values = np.empty(rows)
    level = 0.0
    for row, shock in enumerate(random.normal(0.0, step, rows)):
        level = keep * level + shock
        values[row] = level
    return values
