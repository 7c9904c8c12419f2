"""What the training rows looked like, for whoever watches production for drift.

`statistics.json` and `constraints.json` have the form of SageMaker Model Monitor's baselines (its developer guide,
"Schema for Statistics" and "Schema for Constraints"), with exact counts in equal buckets in place of a sketch;
`drift.json` is what `training.monitor` reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from inference.contract.schema import Column, Floats, Kind
from training.dataset import Dataset, Part
from training.statistics import Moments, moments, quantiles

BUCKETS = 10
DECILES = tuple(tenth / 10.0 for tenth in range(11))
MAX_DOMAIN = 100
"""A column with more texts has no domain that a monitor could check."""
_TYPES = {Kind.NUMERIC: "Fractional", Kind.INTEGER: "Integral", Kind.CATEGORICAL: "String", Kind.TIME: "Fractional"}


def baseline(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The content of each file, by its name."""

    def chunks() -> Iterable[Floats]:
        return dataset.part(Part.TRAIN)

    width, rows = len(dataset.columns), dataset.sizes[Part.TRAIN]
    deciles = quantiles(chunks, width, DECILES)
    found = moments(chunks, width, deciles[:, len(DECILES) // 2])
    counts = _counts(dataset, deciles)
    features = [
        _statistics(column, rows, found, index, deciles[index], counts[index], dataset.spill.texts.get(column.name))
        for index, column in enumerate(dataset.columns)
    ]
    return {
        "statistics.json": {"version": 0.0, "dataset": {"item_count": rows}, "features": features},
        "constraints.json": {
            "version": 0.0,
            "features": [
                _constraints(column, rows, int(found.count[index]), deciles[index], counts[index], dataset)
                for index, column in enumerate(dataset.columns)
            ],
            "monitoring_config": {
                "evaluate_constraints": "Enabled",
                "emit_metrics": "Enabled",
                "datatype_check_threshold": 1.0,
                "domain_content_threshold": 1.0,
                "distribution_constraints": {
                    "perform_comparison": "Enabled",
                    "comparison_threshold": 0.1,
                    "comparison_method": "Robust",
                    "categorical_comparison_threshold": 0.1,
                    "categorical_drift_method": "LInfinity",
                },
            },
        },
    }


def _counts(dataset: Dataset, deciles: Floats) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Rows by bucket (equal steps from the least to the greatest value), or by text."""
    sizes = [
        len(dataset.spill.texts.get(column.name, ())) if column.kind is Kind.CATEGORICAL else BUCKETS
        for column in dataset.columns
    ]
    counts = [np.zeros(size, dtype=np.int64) for size in sizes]
    for chunk in dataset.part(Part.TRAIN):
        for index, column in enumerate(dataset.columns):
            values = chunk[~np.isnan(chunk[:, index]), index]
            if column.kind is Kind.CATEGORICAL:
                counts[index] += np.bincount(values.astype(np.int64), minlength=sizes[index])
            elif len(values):
                low, high = deciles[index, 0], deciles[index, -1]
                share = (values - low) / (high - low) if high > low else np.zeros(len(values))
                places = np.minimum((share * BUCKETS).astype(np.int64), BUCKETS - 1)
                counts[index] += np.bincount(places, minlength=BUCKETS)
    return counts


def _statistics(
    column: Column,
    rows: int,
    found: Moments,
    index: int,
    deciles: Floats,
    counts: np.ndarray[Any, np.dtype[np.int64]],
    texts: tuple[str, ...] | None,
) -> dict[str, Any]:
    present = int(found.count[index])
    common = {"num_present": present, "num_missing": rows - present}
    head: dict[str, Any] = {"name": column.name, "inferred_type": _TYPES[column.kind]}
    if column.kind is Kind.CATEGORICAL:
        pairs = [
            {"value": text, "count": count} for text, count in zip(texts or (), counts.tolist(), strict=True) if count
        ]
        distribution = {"categorical": {"buckets": pairs}}
        return head | {
            "string_statistics": {"common": common, "distinct_count": len(pairs), "distribution": distribution}
        }
    if not present:
        return head | {"inferred_type": "Unknown", "numerical_statistics": {"common": common}}
    edges = np.linspace(deciles[0], deciles[-1], BUCKETS + 1).tolist()
    buckets = [
        {"lower_bound": low, "upper_bound": high, "count": count}
        for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False)
    ]
    return head | {
        "numerical_statistics": {
            "common": common,
            "mean": float(found.mean[index]),
            "sum": float(found.mean[index]) * present,
            "std_dev": float(found.std[index]),
            "min": float(deciles[0]),
            "max": float(deciles[-1]),
            "distribution": {"kll": {"buckets": buckets}},
        }
    }


def _constraints(
    column: Column,
    rows: int,
    present: int,
    deciles: Floats,
    counts: np.ndarray[Any, np.dtype[np.int64]],
    dataset: Dataset,
) -> dict[str, Any]:
    head: dict[str, Any] = {
        "name": column.name,
        "inferred_type": _TYPES[column.kind] if present else "Unknown",
        "completeness": present / rows,
    }
    if column.kind is Kind.CATEGORICAL:
        texts = dataset.spill.texts.get(column.name, ())
        domain = [text for text, count in zip(texts, counts.tolist(), strict=True) if count]
        return head | ({"string_constraints": {"domains": domain}} if len(domain) <= MAX_DOMAIN else {})
    return head | ({"num_constraints": {"is_non_negative": bool(deciles[0] >= 0.0)}} if present else {})
