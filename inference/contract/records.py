"""From a caller's values to typed rows: the checks of types, names and ranges, with row and column in each error."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from inference.contract.converters import EXACT, NAN, NUMBERS, Converter, converter
from inference.contract.errors import InputError
from inference.contract.histories import HistoryReader
from inference.contract.schema import Floats, Kind, Rows, finite
from inference.contract.transform import Transform

_MANY = 4  # rows from which reading them all at once is faster


@lru_cache(maxsize=256)
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f"{count}d")


class RecordReader:
    """Reads the rows of one model's schema; made once, used by every request.

    A record must name every input column and may name the target, which is ignored in `row`: it is what is asked for.
    A level that was not in the training rows counts as none of them, or with `unseen="reject"` is refused.
    """

    def __init__(self, transform: Transform, *, unseen: Literal["accept", "reject"] = "accept") -> None:
        table = transform.table
        self._leveled = [
            (table.index(fit.name), fit.name, fit.codes, ", ".join(str(level) for level in fit.levels))
            for fit in (transform.levels if unseen == "reject" else ())
        ]
        levels = {fit.name: fit.levels for fit in transform.levels}
        self.input_names = tuple(column.name for column in table.inputs)
        self.names = table.names
        self._known = frozenset(table.names)
        self._inputs = frozenset(self.input_names)
        self._columns = {column.name: column for column in table.columns}
        self._target = table.index(table.target)
        self._group = table.group
        self._history_rows = transform.history_rows
        self._converters: dict[str, Converter] = {
            column.name: converter(column, levels.get(column.name, ())) for column in table.columns
        }
        if transform.classes:  # the target's code is the position of its class
            self._converters[table.target] = converter(self._columns[table.target], transform.classes)
        self._histories = HistoryReader(table, transform.remembered, self._converters)
        self._plan = tuple((name, self._converters[name]) for name in table.names)
        self._row_plan = tuple(self._converters[name] for name in self.input_names)
        self._places = np.array([table.index(name) for name in self.input_names], dtype=np.int64)
        self._whole = [place for place, column in enumerate(table.inputs) if column.kind is Kind.INTEGER]
        self._texts = [column.name for column in table.inputs if column.kind is Kind.CATEGORICAL]
        self._pick = itemgetter(*self.input_names) if len(self.input_names) > 1 and not self._texts else None

    def read(self, instances: Sequence[Any]) -> Rows:
        """Typed rows of JSON values, each with its own history.

        Raises:
            InputError: no rows, or a row of the wrong shape, with a wrong name or a value of the wrong type.
        """
        if not instances:
            raise InputError("there are no rows: send at least one")
        if self._pick is not None and len(instances) >= _MANY and (plain := self._numbers(instances)) is not None:
            return self._seen(plain)
        rows: list[Any] = []
        histories: list[Sequence[Any]] = []
        for number, instance in enumerate(instances):
            enveloped = isinstance(instance, dict) and "row" in instance and "row" not in self._known
            histories.append(self._history(instance, number) if enveloped else ())
            rows.append(instance["row"] if enveloped else instance)
        matrix: Floats = np.array([self._instance(row, number) for number, row in enumerate(rows)], dtype=np.float64)
        if not any(histories):
            return self._seen(Rows.alone(matrix))
        past = self._histories.read(histories, self._complain_of_names)
        for number, (row, history) in enumerate(zip(rows, histories, strict=True)):
            self._same_entity(row, history, number)
        return self._seen(Rows.after(past, [len(history) for history in histories], matrix))

    def _seen(self, rows: Rows) -> Rows:
        """The rows, if levels that were not seen in training may pass or there are none."""
        for index, name, codes, levels in self._leveled:
            values = rows.values[rows.emit, index]
            odd = np.flatnonzero(~np.isnan(values) & ~np.isin(values, codes))
            if len(odd):
                problem = f"is none of the levels that the model was trained with: {levels}"
                raise InputError(problem, row=int(odd[0]), column=name)
        return rows

    def read_matrix(self, values: Floats) -> Rows:
        """Typed rows of numbers, shape (rows, inputs), in the order of `Schema.inputs`; NaN is a missing value.

        Raises:
            InputError: no rows, another number of columns, an infinite value, or a column that holds texts.
        """
        if self._texts:
            raise InputError("holds texts, an array only numbers: send JSON, CSV or Arrow", column=self._texts[0])
        if values.ndim != 2 or values.shape[1] != len(self.input_names):
            names = ", ".join(self.input_names)
            raise InputError(f"the array has shape {values.shape}, expected (rows, {len(self.input_names)}): {names}")
        if not len(values):
            raise InputError("there are no rows: send at least one")
        self._check_numbers(values)
        return self._seen(self._placed(values))

    def kind(self, name: str) -> Kind:
        """What the column holds."""
        return self._columns[name].kind

    def check_names(self, names: Sequence[str]) -> None:
        """Raise InputError unless these are the input columns, with or without the target."""
        if len(set(names)) != len(names):
            raise InputError("a column appears twice")
        if missing := [name for name in self.input_names if name not in names]:
            raise InputError(f"the table lacks {', '.join(missing)}")
        if odd := sorted(set(names) - self._known):
            raise InputError(f"the table has columns that the model does not know: {', '.join(odd)}")

    def read_columns(self, columns: Mapping[str, Floats | list[Any]]) -> Rows:
        """Typed rows of whole input columns: float64 with NaN for a missing value, or values as JSON has them.

        Raises:
            InputError: a value of the wrong type.
        """
        values = np.column_stack([self._column(name, columns[name]) for name in self.input_names])
        self._check_numbers(values)
        return self._seen(self._placed(values))

    def read_run(self, columns: Mapping[str, Floats | list[Any]]) -> Rows:
        """All columns of a table whose rows stand in order, the target among them: each row sees those before it.

        Where the schema names entities the rows stand entity after entity, and see those of their own. The first rows
        of each, as many as the transform's history needs, only serve as history.

        Raises:
            InputError: a value of the wrong type, or too few rows.
        """
        matrix = np.column_stack([self._column(name, columns[name]) for name in self.names])
        self._check_numbers(matrix[:, self._places])
        begins = np.zeros(len(matrix), dtype=np.bool_)
        begins[:1] = True
        for name in self._group:
            raw = np.asarray(columns[name])
            begins[1:] |= raw[1:] != raw[:-1]
        start = np.flatnonzero(begins)[np.cumsum(begins) - 1]
        emit = np.flatnonzero(np.arange(len(matrix)) - start >= self._history_rows)
        if not len(emit):
            raise InputError(f"{len(matrix)} rows are too few: {self._history_rows} only serve as history")
        return Rows(matrix, emit, start[emit])

    def _column(self, name: str, column: Floats | list[Any]) -> Floats:
        """One column, typed."""
        if isinstance(column, np.ndarray):
            if self._columns[name].kind is Kind.CATEGORICAL and not np.isnan(column).all():
                raise InputError("expected texts, got numbers", row=0, column=name)
            return column
        convert = self._converters[name]
        values: Floats = np.empty(len(column), dtype=np.float64)
        for row, value in enumerate(column):
            try:
                values[row] = convert(value)
            except ValueError as error:
                raise InputError(str(error), row=row, column=name) from None
        return values

    def _check_numbers(self, values: Floats) -> None:
        """Raise InputError at the first infinite value, and the first that is no integer in a column of integers."""
        if not self._whole and finite(values):
            return
        wrong = np.isinf(values)
        with np.errstate(invalid="ignore"):
            whole = values[:, self._whole]
            wrong[:, self._whole] |= (np.rint(whole) != whole) & ~np.isnan(whole) | (np.abs(whole) > EXACT)
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            kind = "an integer of at most 2**53" if column in self._whole else "a finite number"
            problem = f"expected {kind}, got {values[row, column]!s}"
            raise InputError(problem, row=row, column=self.input_names[column])

    def _numbers(self, instances: Sequence[Any]) -> Rows | None:
        """All rows at once when they are arrays or records of plain numbers; None when they need a closer look.

        Takes a fifth of the time of the closer look, which also finds the words for what is wrong.
        """
        kinds, count = set(map(type, instances)), len(self.input_names)
        if kinds not in ({list}, {dict}) or set(map(len, instances)) != {count}:
            return None
        try:
            rows = instances if kinds == {list} else list(map(self._pick, instances))  # type: ignore[arg-type]
            flat = list(chain.from_iterable(rows))
            kinds = set(map(type, flat))
            if not kinds <= NUMBERS:
                return None
            # packed first: numpy reads a list of numbers in four times the time
            packed = type(None) not in kinds
            typed = np.frombuffer(_doubles(len(flat)).pack(*flat)) if packed else np.array(flat, dtype=np.float64)
            values = typed.reshape(len(instances), count)
        except (KeyError, OverflowError, struct.error):  # a struct says so of integers beyond float64
            return None
        missing = None
        if not finite(values):
            missing = np.isnan(values)
            if np.isinf(values).any() or np.count_nonzero(missing) != flat.count(None):
                return None
        if self._whole:
            missing = np.isnan(values) if missing is None else missing
            whole = values[:, self._whole]
            with np.errstate(invalid="ignore"):
                if not ((np.rint(whole) == whole) & (np.abs(whole) < EXACT) | missing[:, self._whole]).all():
                    return None
        return self._placed(values)

    def _placed(self, values: Floats) -> Rows:
        """Rows without a history, from the values of the inputs alone."""
        target = self._target
        matrix: Floats = np.empty((len(values), len(self.names)), dtype=np.float64)
        matrix[:, :target] = values[:, :target]
        matrix[:, target] = NAN
        if target < values.shape[1]:
            matrix[:, target + 1 :] = values[:, target:]
        return Rows.alone(matrix)

    def read_texts(self, cells: Sequence[Sequence[str]], names: tuple[str, ...]) -> Rows:
        """Typed rows of texts (CSV); an empty cell is a missing value.

        Raises:
            InputError: as `read`.
        """
        if not cells:
            raise InputError("there are no rows: send at least one")
        instances: list[dict[str, Any]] = []
        for number, line in enumerate(cells):
            if len(line) != len(names):
                raise InputError(f"has {len(line)} values, expected {len(names)}: {', '.join(names)}", row=number)
            cells_by_name = zip(names, line, strict=True)
            instances.append({name: self._untext(name, cell.strip(), number) for name, cell in cells_by_name})
        return self.read(instances)

    def _untext(self, name: str, cell: str, row: int) -> Any:
        column = self._columns.get(name)
        if cell == "" or column is None:
            return None
        if column.kind is Kind.CATEGORICAL:
            return cell
        try:
            return float(cell) if column.kind is Kind.NUMERIC or not cell.lstrip("+-").isdigit() else int(cell)
        except ValueError:
            if column.kind is Kind.TIME:  # a number of seconds, or else a text that names the time
                return cell
            raise InputError(f"expected a number, got {cell!r}", row=row, column=name) from None

    def _history(self, instance: Mapping[str, Any], row: int) -> Sequence[Any]:
        if odd := instance.keys() - {"row", "history"}:
            raise InputError(f"unknown keys beside 'row' and 'history': {', '.join(sorted(odd))}", row=row)
        history = instance.get("history", [])
        if not isinstance(history, list):
            raise InputError(f"'history' must be an array of records, got {type(history).__name__}", row=row)
        return history

    def _same_entity(self, instance: Any, history: Sequence[Any], row: int) -> None:
        """Raise InputError where the history is not of the row's own entity."""
        for name in self._group:
            own = instance[self.input_names.index(name)] if isinstance(instance, list) else instance.get(name)
            if odd := next((past for past in history if past.get(name) != own), None):
                raise InputError(
                    f"'history' holds a row of {odd.get(name)!r}, the row is of {own!r}: send its own rows only",
                    row=row, column=name,
                )  # fmt: skip

    def _instance(self, instance: Any, row: int) -> list[float]:
        if not isinstance(instance, list):
            return self._record(instance, row)
        if len(instance) != len(self.input_names):
            names = ", ".join(self.input_names)
            raise InputError(f"has {len(instance)} values, expected {len(self.input_names)}: {names}", row=row)
        try:
            values = [convert(value) for convert, value in zip(self._row_plan, instance, strict=True)]
        except ValueError:
            self._complain_of_values(dict(zip(self.input_names, instance, strict=True)), row)
            raise
        values.insert(self._target, NAN)
        return values

    def _record(self, record: Any, row: int) -> list[float]:
        if not isinstance(record, dict):
            raise InputError(f"expected a record or an array of values, got {type(record).__name__}", row=row)
        if not (self._inputs <= record.keys() <= self._known):
            self._complain_of_names(record, row)
        try:
            values = [convert(record.get(name)) for name, convert in self._plan]
        except ValueError:
            self._complain_of_values(record, row)
            raise
        values[self._target] = NAN
        return values

    def _complain_of_names(self, record: Mapping[str, Any], row: int) -> None:
        if missing := [name for name in self.input_names if name not in record]:
            raise InputError(f"lacks {', '.join(missing)} (null stands for a missing value)", row=row)
        odd = sorted(record.keys() - self._known)
        raise InputError(f"has columns that the model does not know: {', '.join(odd)}", row=row)

    def _complain_of_values(self, record: Mapping[str, Any], row: int) -> None:
        for name, convert in self._plan:
            try:
                convert(record.get(name))
            except ValueError as error:
                raise InputError(str(error), row=row, column=name) from None
