"""Filters, order and pages of List calls."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from infra.cloud.errors import invalid

PAGE_SIZE = 10  # SageMaker's default MaxResults


def page(
    records: Iterable[Any], params: Mapping[str, Any], keys: Mapping[str, Callable[[Any], Any]]
) -> tuple[list[Any], dict[str, str]]:
    """The records of a List call that pass its filters, in its order, one page of them; and the next page's token."""
    bounds: tuple[tuple[str, Callable[[Any], datetime], Callable[[float, float], bool]], ...] = (
        ("CreationTimeAfter", lambda r: r.created, lambda time, bound: time > bound),
        ("CreationTimeBefore", lambda r: r.created, lambda time, bound: time < bound),
        ("LastModifiedTimeAfter", lambda r: r.modified, lambda time, bound: time > bound),
        ("LastModifiedTimeBefore", lambda r: r.modified, lambda time, bound: time < bound),
    )
    found = [record for record in records if params.get("NameContains", "").lower() in record.name.lower()]
    for name, moment, within in bounds:
        if name in params:
            found = [record for record in found if within(moment(record).timestamp(), float(params[name]))]
    order = keys[params.get("SortBy", "CreationTime")]
    found.sort(key=order, reverse=params.get("SortOrder", "Descending") == "Descending")
    token = params.get("NextToken", "0")
    if not re.fullmatch(r"\d{1,9}", token):
        raise invalid(f"Invalid NextToken: {token}")
    start, size = int(token), params.get("MaxResults", PAGE_SIZE)
    following = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return found[start : start + size], following


def jobs_page(jobs: Iterable[Any], region: str, params: Mapping[str, Any]) -> tuple[list[Any], dict[str, str]]:
    """`page` of a region's jobs (name, status, created), which a List call may want of one status."""
    wanted = params.get("StatusEquals")
    found = [job for job in jobs if job.region == region and wanted in (None, job.status)]
    keys: dict[str, Callable[[Any], Any]] = {
        "Name": lambda job: job.name,
        "CreationTime": lambda job: job.created,
        "Status": lambda job: job.status,
    }
    return page(found, params, keys)
