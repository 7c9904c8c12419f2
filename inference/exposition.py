"""The totals as others read them: Prometheus text, and CloudWatch's embedded metric format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import orjson

from inference.board import Board, State
from inference.telemetry import Cell, Histogram, Totals

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the text format (Prometheus, "Exposition formats")."""
EMF_NAMESPACE = "Sagestage/Inference"
MILLISECONDS = 1000.0


def prometheus(board: Board) -> bytes:
    """Every counter, gauge and histogram, summed over all workers."""
    totals = list(board.totals())
    states = board.states()
    lines = [
        *_family("sagestage_workers", "gauge", "Worker processes by state."),
        *(
            f'sagestage_workers{{state="{state.name.lower()}"}} {sum(1 for one in states if one is state)}'
            for state in State
        ),
        *_family("sagestage_worker_restarts_total", "counter", "Workers started again after a crash."),
        f"sagestage_worker_restarts_total {board.restarts:g}",
        *_family("sagestage_requests_total", "counter", "Requests by status."),
        *(
            _sample("sagestage_requests_total", total.labels | {"status": str(status)}, count)
            for total in totals
            for status, count in total.statuses.items()
            if count or status == 200
        ),
        *_family("sagestage_errors_total", "counter", "Requests that were not answered, by kind."),
        *(
            _sample("sagestage_errors_total", total.labels | {"error": error}, count)
            for total in totals
            for error, count in total.errors.items()
        ),
    ]
    for name, kind, text, cell in (
        ("sagestage_rows_total", "counter", "Rows that were computed.", Cell.ROWS),
        ("sagestage_queue_rows", "gauge", "Rows that wait for a batch.", Cell.QUEUED),
        ("sagestage_requests_in_flight", "gauge", "Requests that are read or answered.", Cell.IN_FLIGHT),
        ("sagestage_cache_hits_total", "counter", "Rows answered from the cache.", Cell.CACHE_HITS),
        ("sagestage_cache_misses_total", "counter", "Rows that were not in the cache.", Cell.CACHE_MISSES),
    ):
        lines += _family(name, kind, text)
        lines += [_sample(name, total.labels, total.single[cell]) for total in totals]
    lines += _family("sagestage_batch_rows", "histogram", "Rows of a forward pass.")
    for total in totals:
        lines += _histogram("sagestage_batch_rows", total.labels, total.batches)
    lines += _family("sagestage_latency_seconds", "histogram", "Time by stage; request is the whole.")
    for total in totals:
        for stage, histogram in total.stages.items():
            lines += _histogram("sagestage_latency_seconds", total.labels | {"stage": stage}, histogram)
    return ("\n".join(lines) + "\n").encode()


def emf(now: Totals, before: Totals | None, *, milliseconds: int) -> bytes | None:
    """What happened between two looks, as one line of CloudWatch's embedded metric format; None when nothing did.

    Histograms go out as values (the upper bounds of the buckets) with counts, as the format allows, so CloudWatch can
    compute percentiles. `milliseconds` is the time since 1970.
    """
    statuses = _since(now.statuses, before.statuses if before else {})
    requests = sum(statuses.values())
    if not requests:
        return None
    latency = _delta(now.stages["request"], before.stages["request"] if before else None)
    values: dict[str, Any] = {
        "Requests": requests,
        "Rows": now.single[Cell.ROWS] - (before.single[Cell.ROWS] if before else 0.0),
        "Errors4XX": sum(count for status, count in statuses.items() if 400 <= status < 500),
        "Errors5XX": sum(count for status, count in statuses.items() if status >= 500),
        "Latency": {
            "Values": [bound * MILLISECONDS for bound, count in latency if count],
            "Counts": [count for _, count in latency if count],
        },
    }
    units = {"Latency": "Milliseconds"}
    metadata = {
        "Timestamp": milliseconds,
        "CloudWatchMetrics": [
            {
                "Namespace": EMF_NAMESPACE,
                "Dimensions": [list(now.labels)],
                "Metrics": [{"Name": name, "Unit": units.get(name, "Count")} for name in values],
            }
        ],
    }
    return orjson.dumps({"_aws": metadata} | now.labels | values, option=orjson.OPT_APPEND_NEWLINE)


def _since(now: Mapping[int, float], before: Mapping[int, float]) -> dict[int, float]:
    return {status: count - before.get(status, 0.0) for status, count in now.items()}


def _delta(now: Histogram, before: Histogram | None) -> list[tuple[float, float]]:
    """Bound and new count of each bucket; what is above the last bound counts as twice that bound."""
    bounds = (*now.bounds, 2 * now.bounds[-1])
    old = before.counts if before else (0.0,) * len(bounds)
    return [(bound, new - was) for bound, new, was in zip(bounds, now.counts, old, strict=True)]


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    return f"{name}{_labels(labels)} {value:.17g}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (
        '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
    return "{" + ",".join(pairs) + "}"


def _histogram(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterable[str]:
    cumulative = list(accumulate(histogram.counts))
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, cumulative, strict=True):
        yield _sample(f"{name}_bucket", {**labels, "le": bound}, count)
    yield _sample(f"{name}_sum", labels, histogram.total)
    yield _sample(f"{name}_count", labels, cumulative[-1])
