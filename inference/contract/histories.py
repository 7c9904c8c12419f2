"""The earlier rows that come with a row: of their values only those are read that lags and windows look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from inference.contract.converters import NAN, Converter, plain
from inference.contract.errors import InputError
from inference.contract.schema import Column, Floats, Schema


class HistoryReader:
    """Reads histories of one schema: lists of records, oldest first, which may carry the target.

    Each record must name every input column; what is in the columns that no lag or window looks at does not matter.
    """

    def __init__(self, table: Schema, remembered: Sequence[str], converters: Mapping[str, Converter]) -> None:
        self._columns = len(table.columns)
        self._known = frozenset(table.names)
        self._inputs = frozenset(column.name for column in table.inputs)
        self._wanted: list[tuple[int, Column, Converter]] = [
            (table.index(name), table.columns[table.index(name)], converters[name]) for name in remembered
        ]

    def read(self, histories: Sequence[Sequence[Any]], complain: Callable[[Mapping[str, Any], int], None]) -> Floats:
        """The records of all histories, shape (records, columns); NaN where nothing looks.

        `complain` raises the InputError that names what is wrong with a record's names.

        Raises:
            InputError: something is no record, lacks a column, or has a value of the wrong type, in the history of
                the row that it names.
        """
        records = list(chain.from_iterable(histories))
        if not self._well_named(records):
            self._find_odd(histories, complain)
        matrix: Floats = np.full((len(records), self._columns), NAN)
        for index, column, convert in self._wanted:
            values = [record.get(column.name) for record in records]
            typed = plain(column.kind, values)
            matrix[:, index] = self._one_by_one(column.name, convert, histories) if typed is None else typed
        return matrix

    def _well_named(self, records: Sequence[Any]) -> bool:
        if set(map(type, records)) != {dict}:
            return False
        # records of one program have their names in one order: a set of these few is sooner made than all are looked at
        return all(self._inputs <= set(names) <= self._known for names in set(map(tuple, records)))

    def _find_odd(self, histories: Sequence[Sequence[Any]], complain: Callable[[Mapping[str, Any], int], None]) -> None:
        for row, history in enumerate(histories):
            for record in history:
                if not isinstance(record, dict):
                    raise InputError(f"'history' must hold records, got {type(record).__name__}", row=row)
                if not self._inputs <= record.keys() <= self._known:
                    complain(record, row)

    @staticmethod
    def _one_by_one(name: str, convert: Converter, histories: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
        values: list[float] = []
        for row, history in enumerate(histories):
            try:
                values.extend(convert(record.get(name)) for record in history)
            except ValueError as error:
                raise InputError(f"in 'history': {error}", row=row, column=name) from None
        return values
