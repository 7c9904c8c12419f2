"""A baseline of a known distribution, and capture files of a known shift from it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from inference.contract.schema import Kind, Task
from training.monitor.baseline import Baseline, prediction_scale
from training.monitor.scales import Scale
from training.monitor.window import Window

SHA = "ab" * 32
VERSION = SHA[:12]
SHARES = (0.5, 0.3, 0.2)
SKIES = ("clear", "mist", "rain")
START = datetime(2026, 1, 1, 10, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=1))
NAMES = ("when", "temp", "wind", "sky")


def rows(count: int, seed: int = 1, *, shift: float = 0.0, rain: float = 0.2) -> list[dict[str, Any]]:
    """Records as a caller sends them."""
    random = np.random.Generator(np.random.PCG64(seed))
    temp = random.normal(15.0 + 5.0 * shift, 5.0, count).round(3).tolist()
    wind = random.integers(0, 5, count).tolist()
    shares = np.array([0.5, 0.3, 0.0]) * (1 - rain) / 0.8
    shares[2] = rain
    sky = random.choice(SKIES, count, p=shares).tolist()
    return [
        {"when": f"2026-01-01T{10 + number % 2:02d}:00:00", "temp": t, "wind": w, "sky": s}
        for number, (t, w, s) in enumerate(zip(temp, wind, sky, strict=True))
    ]


def baseline(count: int = 4_000, *, task: Task = Task.REGRESSION, clock: bool = False) -> Baseline:
    """Of rows without a shift; the model answers with the temperature, or with "warm" and "cold"."""
    made = rows(count, 0)
    temp = np.array([row["temp"] for row in made])
    deciles = np.quantile(temp, np.arange(11) / 10).tolist()
    scales = (
        Scale(name="when", kind=Kind.TIME, monitored=False),
        Scale.of_numbers("temp", Kind.NUMERIC, deciles, float(temp.mean()), float(temp.std())),
        Scale(name="wind", kind=Kind.INTEGER, levels=(0.0, 1.0, 2.0, 3.0, 4.0), low=0.0, high=4.0, mean=2.0, std=1.4),
        Scale(name="sky", kind=Kind.CATEGORICAL, levels=SKIES),
    )
    wind = np.array([row["wind"] for row in made], dtype=np.float64)
    sky = np.array([SKIES.index(row["sky"]) for row in made], dtype=np.uint8)
    classes = () if task is Task.REGRESSION else ("cold", "warm")
    answer = prediction_scale(temp, classes)
    answers = answer.of(temp) if task is Task.REGRESSION else (temp > 15.0).astype(np.uint8)
    hours = np.array([10 + number % 2 for number in range(count)], dtype=np.uint8)
    return Baseline.packed(
        np.column_stack([scales[1].of(temp), scales[2].of(wind), sky]),
        answers,
        hours if clock else None,
        model="m",
        sha256=SHA,
        task=task,
        target="demand",
        rows=count,
        columns=scales,
        prediction=answer,
        clock="when" if clock else None,
        target_mean=15.0,
    )


def side(body: bytes, content_type: str, encoding: str, mode: str = "INPUT") -> dict[str, str]:
    """One side of a record."""
    text = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode()
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}


def record(
    body: bytes | list[Any],
    answer: Any = None,
    *,
    number: int = 0,
    at: datetime | None = None,
    content_type: str = "application/json",
    encoding: str = "JSON",
    identity: str | None = "",
    version: str = VERSION,
) -> dict[str, Any]:
    """A captured record of JSON rows, or of a body in another type; answered in JSON unless the answer is a side."""
    instances = body if isinstance(body, list) else None
    raw = orjson.dumps({"instances": body}) if isinstance(body, list) else body
    if answer is None and instances is not None:
        answer = [row.get("temp", 0.0) if isinstance(row, dict) else 0.0 for row in instances]
    if isinstance(answer, list):
        content = orjson.dumps({"predictions": answer, "model_version": version, "latency_ms": 1.0})
        answer = side(content, "application/json", "JSON", "OUTPUT")
    elif isinstance(answer, dict) and "predictions" in answer:
        answer = side(orjson.dumps(answer | {"model_version": version}), "application/json", "JSON", "OUTPUT")
    moment = START + timedelta(seconds=number % 3_600) if at is None else at
    metadata = {"eventId": f"event-{number}", "inferenceTime": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
    if identity is not None:
        metadata["inferenceId"] = identity or f"id-{number}"
    data = {"endpointInput": side(raw, content_type, encoding)}
    if answer is not None:
        data["endpointOutput"] = answer
    return {"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}


def records(made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record a row, one a second."""
    return [record([row], number=number) for number, row in enumerate(made)]


def write(
    folder: Path,
    made: Iterable[dict[str, Any] | bytes],
    *,
    variant: str = "champion",
    files: int = 1,
    hour: datetime = START,
    dump: Callable[[Any], bytes] = orjson.dumps,
) -> Path:
    """Capture files of one hour; the folder, which is what `captured` names."""
    lines = [one if isinstance(one, bytes) else dump(one) + b"\n" for one in made]
    place = folder / variant / f"{hour:%Y/%m/%d/%H}"
    place.mkdir(parents=True, exist_ok=True)
    already = len(list(place.iterdir()))
    for number in range(files):
        name = f"{already + number:03d}.jsonl"
        (place / name).write_bytes(b"".join(lines[number::files]))
    return folder
