"""What could not be read, counted by kind: nothing is skipped silently."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum


class Problem(StrEnum):
    """Why a file, a record, a row or a label does not count, or counts with a reservation; in words."""

    FILE = "files could not be read"
    LINE = "lines are no capture records (cut off or damaged)"
    NO_INPUT = "records have no input: capture takes answers only"
    PAYLOAD = "records have a body that does not fit its content type"
    SCHEMA = "rows have other columns than the baseline's model (an older schema?)"
    NO_ANSWER = "records have no readable answer"
    ENCODINGS = "records have input and output in different encodings: declare the content types of both"
    OTHER_MODEL = "records were answered by another model than the baseline's"
    NO_VERSION = "records do not say which model answered: taken for the baseline's"
    CLOCK = "records have a time more than an hour from their file's: the file's hour was taken"
    NO_ID = "records have no InferenceId: the truth cannot be joined to them"
    NO_BASELINE = "records are of variants without a baseline"
    LABEL = "labels could not be read"
    REPEATED = "labels came more than once, each time the same"
    CONTRADICTORY = "labels contradict each other for the same record: none of them was used"
    UNMATCHED = "labels belong to no record of the window"
    AMBIGUOUS = "InferenceIds stand for several records: none of these was judged"


class Problems(Counter[Problem]):
    """How often each happened."""

    def lines(self) -> list[str]:
        """A sentence each, the most frequent first."""
        return [f"{count:,} {kind}" for kind, count in sorted(self.items(), key=lambda pair: -pair[1]) if count]
