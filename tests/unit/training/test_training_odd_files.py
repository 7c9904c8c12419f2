"""Files that are wrong, or go wrong while they are read."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from inference.contract.schema import Kind
from tests.training_support.rows import values
from training import chunks, csvfile
from training.columns import ColumnReader
from training.errors import DataError
from training.table import FeatureTable, Writer

LONG = "".join(f"{number},{number * 0.5}\n" for number in range(30_000))


def reading(path: Path) -> Iterator[object]:
    readers = [ColumnReader(str(path), name) for name in ("a", "b")]
    return csvfile.read(str(path), readers, block_bytes=2**16)


@contextmanager
def somebody() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("change", ["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + LONG)
    batches = reading(path)
    next(batches)
    if change == "shrinks":
        os.truncate(path, path.stat().st_size // 2)
    else:
        with path.open("a") as file:
            file.write("1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: (changed while it was read|row \d+: expected 2 columns, got 1)"):
        list(batches)


def test_a_file_without_permission_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)  # the file is what is closed
    with somebody(), pytest.raises(DataError) as caught:
        chunks.header(path)
    assert "\n" not in str(caught.value)
    assert "ermission" in str(caught.value)


def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    whole = gzip.compress(("a,b\n" + LONG).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.csv\.gz: "):
        chunks.read(path, ["a", "b"], tmp_path / "rows")


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (b"x,1\n", r"row 30001, column 'a': 'x' is text where numbers were seen"),
        (b"1,2,3\n", r"row 30001: expected 2 columns, got 3"),
        (b"1\n", r"row 30001: expected 2 columns, got 1"),
        (b"1,inf\n", r"row 30001, column 'b': 'inf' is not finite"),
        (b"1,\xff\n", r"row 30001 is not UTF-8"),
        (b"9007199254740993,1\n", r"row 30001, column 'a': 9007199254740993 is not below 2\*\*53"),
    ],
)
def test_what_is_wrong_far_down_is_named_with_its_row(tmp_path: Path, late: bytes, expected: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n" + LONG.encode() + late)
    with pytest.raises(DataError, match=expected):
        chunks.read(path, ["a", "b"], tmp_path / "rows", block_bytes=2**16)


def test_numbers_quotes_and_newlines_far_down_are_read_as_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + LONG.replace("\n", ",x\n") + '+7, 1.5,"y\nz"\n8,2,"x"\n')
    spill = chunks.read(path, ["a", "b", "c"], tmp_path / "rows", block_bytes=2**16)
    assert [column.kind for column in spill.columns] == [Kind.INTEGER, Kind.NUMERIC, Kind.CATEGORICAL]
    assert spill.texts["c"] == ("x", "y\nz")
    found = values(spill)
    assert found.shape == (30_002, 3)
    assert found[-2:].tolist() == [[7.0, 1.5, 1.0], [8.0, 2.0, 0.0]]
    np.testing.assert_array_equal(found[:30_000, 1], np.arange(30_000) * 0.5)


def test_dates_in_several_forms_are_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,y\n2011-01-01,1\n2011-01-02T05:00:00,2\n02/01/2011,3\n")
    with pytest.raises(DataError, match=r"row 3, column 't': '02/01/2011' is text where dates or times were seen"):
        chunks.read(path, ["t", "y"], tmp_path / "rows")


def test_no_room_for_features_is_told_in_one_line(tmp_path: Path) -> None:
    table = FeatureTable(tmp_path / "features", 20_000, 50, regression=True)
    table.folder.mkdir()
    table.path(0).symlink_to("/dev/full")
    with (
        pytest.raises(DataError, match="cannot be written: No space left on device: make room"),
        Writer(table, 0) as file,
    ):
        file.write(np.zeros((20_000, 50), np.float32), np.zeros(20_000), np.zeros(20_000, np.int8))
