"""statistics.json and constraint_violations.json, as SageMaker Model Monitor writes them (its developer guide).

One document is for all variants: where there are several, a feature carries its variant's name. What is ours stands
below "sagestage".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from inference.contract.metrics import Monitored
from inference.contract.schema import Kind
from training.monitor.findings import ColumnFinding, VariantFinding

if TYPE_CHECKING:
    from training.monitor.job import Outcome

VERSION = 0.0
COMPLETENESS_SLACK = 0.05
"""A column may lack so large a share of values more than the training rows did."""
TYPE_SHARE = 0.01
UNSEEN_SHARE = 0.01
_TYPES = {Kind.NUMERIC: "Fractional", Kind.INTEGER: "Integral", Kind.CATEGORICAL: "String", Kind.TIME: "String"}


def all_of(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Each file's content, by its name."""
    return {"statistics.json": statistics(outcome), "constraint_violations.json": violations(outcome)}


def statistics(outcome: Outcome) -> dict[str, Any]:
    """The window's statistics."""
    known = [one for one in outcome.findings if one.known]
    return {
        "version": VERSION,
        "dataset": {"item_count": sum(one.rows for one in known)},
        "features": [_feature(one, column, several=len(known) > 1) for one in known for column in _every(one)],
        "sagestage": summary(outcome),
    }


def summary(outcome: Outcome) -> dict[str, Any]:
    """What a program wants to know of a run."""
    window = outcome.settings.window
    return {
        "endpoint": outcome.settings.endpoint,
        "window": [f"{window.start:%Y-%m-%dT%H:%M:%SZ}", f"{window.end:%Y-%m-%dT%H:%M:%SZ}"],
        "files": outcome.files,
        "metrics": {
            variant: {str(name): value for name, value in one.items()} for variant, one in outcome.metrics.items()
        },
        "models": [
            {
                "variant": one.variant,
                "version": one.version,
                "of_the_baseline": one.known,
                "records": one.records,
                "rows": one.rows,
                "columns": {column.scale.name: _drift(column) for column in _every(one) if column.scale.monitored},
                "block_rows": None if one.drawn is None else one.drawn.block,
                "autocorrelation_rows": None if one.drawn is None else one.drawn.time,
                "quality": _figures(one.quality),
                "labelled_rows": 0 if one.judged is None else one.judged.whole.rows,
                "segments": {
                    name: {"rows": rows, **_figures(figures)} for name, (rows, figures) in one.segments.items()
                },
            }
            for one in outcome.findings
        ],
        "problems": {kind.name.lower(): count for kind, count in outcome.problems.items() if count},
        "notes": list(outcome.notes),
    }


def violations(outcome: Outcome) -> dict[str, Any]:
    """What breaks the constraints."""
    return {"version": VERSION, "violations": list(_violations(outcome))}


def _violations(outcome: Outcome) -> Iterator[dict[str, str]]:
    for one in outcome.findings:
        if not one.known or not one.enough:
            continue
        for column in _every(one):
            name = f"{one.variant}/{column.scale.name}" if len(outcome.metrics) > 1 else column.scale.name
            for kind, text in _broken(column):
                yield {"feature_name": name, "constraint_check_type": kind, "description": text}


def _broken(column: ColumnFinding) -> Iterator[tuple[str, str]]:
    if column.drifted and column.chance is not None:
        yield (
            "baseline_drift_check",
            (
                f"Baseline drift distance: {column.index:.4g} exceeds threshold: {column.chance.bound:.4g}"
                f" (population stability index; by chance {column.chance.mean:.4g} on average)"
            ),
        )
    if column.missing > column.missing_then + COMPLETENESS_SLACK:
        yield (
            "completeness_check",
            (
                f"Value: {1 - column.missing:.4g} meets the constraint requirement: no,"
                f" the training rows had {1 - column.missing_then:.4g}"
            ),
        )
    if column.violations > TYPE_SHARE:
        yield "data_type_check", f"Value: {1 - column.violations:.4g} of the values are {_TYPES[column.scale.kind]}"
    if column.unseen > UNSEEN_SHARE and column.scale.kind is Kind.CATEGORICAL:
        yield "categorical_values_check", f"Value: {column.unseen:.4g} of the values are no level of the training rows"


def _every(one: VariantFinding) -> list[ColumnFinding]:
    return [*one.columns, *([] if one.prediction is None else [one.prediction])]


def _drift(column: ColumnFinding) -> dict[str, Any]:
    return {
        "index": column.index,
        "corrected": column.corrected,
        "by_chance": None if column.chance is None else asdict(column.chance),
        "drifted": column.drifted,
        "kolmogorov_smirnov": column.ks,
        "jensen_shannon": column.js,
        "missing": column.missing,
        "unseen": column.unseen,
        "outside": column.outside,
        "violations": column.violations,
    }


def _figures(quality: Mapping[Monitored, Any]) -> dict[str, Any]:
    return {str(name): [figure.value, figure.low, figure.high] for name, figure in quality.items()}


def _feature(one: VariantFinding, column: ColumnFinding, *, several: bool) -> dict[str, Any]:
    scale = column.scale
    name = f"{one.variant}/{scale.name}" if several else scale.name
    seen = round(column.count * (1 - column.violations))
    missing = round(column.missing * column.count)
    common = {"num_present": seen - missing, "num_missing": missing}
    head: dict[str, Any] = {"name": name, "inferred_type": _TYPES[scale.kind] if seen > missing else "Unknown"}
    counts = [round(share * seen) for share in column.now.tolist()]
    if scale.kind in (Kind.CATEGORICAL, Kind.TIME):
        pairs = [
            {"value": scale.label(cell), "count": count}
            for cell, count in enumerate(counts[:-1])
            if count and scale.kind is Kind.CATEGORICAL
        ]
        told = {"common": common, "distinct_count": len(pairs), "distribution": {"categorical": {"buckets": pairs}}}
        return head | {"string_statistics": told}
    numbers: dict[str, Any] = {"common": common}
    if column.mean is not None and column.low is not None and column.high is not None:
        buckets = _buckets(column, counts)
        numbers |= {
            "mean": column.mean,
            "sum": column.mean * (seen - missing),
            "std_dev": column.std,
            "min": column.low,
            "max": column.high,
            "distribution": {"kll": {"buckets": buckets}},
        }
    return head | {"numerical_statistics": numbers}


def _buckets(column: ColumnFinding, counts: list[int]) -> list[dict[str, float]]:
    scale = column.scale
    if column.low is None or column.high is None:
        return []
    if scale.by_level:
        levels = [float(level) for level in scale.levels]
        return [
            {"lower_bound": level, "upper_bound": level, "count": count}
            for level, count in zip(levels, counts, strict=False)
            if count
        ]
    edges = [min(column.low, *scale.edges), *scale.edges, max(column.high, *scale.edges)]
    return [
        {"lower_bound": low, "upper_bound": high, "count": count}
        for (low, high), count in zip(pairwise(edges), counts[:-1], strict=True)
    ]
