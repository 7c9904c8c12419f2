from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.contract.schema import Kind
from tests.training_support.rows import values
from training import chunks
from training.errors import DataError
from training.spill import Spill


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Spill]:
    def read_content(content: str | bytes, name: str = "data.csv", **options: object) -> Spill:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return chunks.read(path, chunks.header(path), tmp_path / "rows.f64", **options)  # type: ignore[arg-type]

    return read_content


def kinds(spill: Spill) -> dict[str, Kind]:
    return {column.name: column.kind for column in spill.columns}


def test_kinds_are_inferred_from_the_values(read: Callable[..., Spill]) -> None:
    spill = read(
        "i,x,b,t,d,c\n1,1,true,2011-01-01,2011-01-01 05:30:00,red\n-2,1.5,FALSE,2011-01-02,2011-01-01T06:00Z,\n"
    )
    assert kinds(spill) == {
        "i": Kind.INTEGER,
        "x": Kind.NUMERIC,
        "b": Kind.INTEGER,
        "t": Kind.TIME,
        "d": Kind.TIME,
        "c": Kind.CATEGORICAL,
    }
    assert spill.texts == {"c": ("red",)}
    first, second = values(spill).tolist()
    assert first == [1.0, 1.0, 1.0, 1293840000.0, 1293859800.0, 0.0]
    assert second[:5] == [-2.0, 1.5, 0.0, 1293926400.0, 1293861600.0]
    assert math.isnan(second[5])


def test_an_integer_column_becomes_numeric_at_its_first_fraction(read: Callable[..., Spill]) -> None:
    text = "a\n" + "1\n" * 3_000 + "2.5\n"
    assert kinds(read(text, block_bytes=1_024)) == {"a": Kind.NUMERIC}


@pytest.mark.parametrize("block_bytes", [512, 1 << 20])
def test_text_where_numbers_were_seen_names_row_column_and_value(
    read: Callable[..., Spill], block_bytes: int, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read("a,b\n" + "1,2\n" * 3_000 + "1,x9\n", block_bytes=block_bytes)
    assert str(caught.value).startswith(
        f"{tmp_path}/data.csv: row 3001, column 'b': 'x9' is text where numbers were seen"
    )


def test_numbers_can_be_names(read: Callable[..., Spill]) -> None:
    spill = read("code,y\n01,1\nA1,2\n01,3\n", as_text=("code",))
    assert kinds(spill)["code"] is Kind.CATEGORICAL
    assert spill.texts["code"] == ("01", "A1")
    assert values(spill)[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_missing_cells_are_nan_and_decide_no_kind(read: Callable[..., Spill]) -> None:
    spill = read("a,b,c\n,NA,\nnull,,\n3,x,\n")
    assert kinds(spill) == {"a": Kind.INTEGER, "b": Kind.CATEGORICAL, "c": Kind.NUMERIC}
    assert np.isnan(values(spill)).sum(axis=0).tolist() == [2, 2, 3]


def test_quoted_newlines_bom_and_spaces_are_read(read: Callable[..., Spill]) -> None:
    spill = read('\ufeffa ,"b\nc"\n " x ",1\n"y\nz", 2\n')
    assert [column.name for column in spill.columns] == ["a", "b\nc"]
    assert spill.rows == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        ("a,b", "has one line only"),
        ("a,b\n", "has no rows"),
        ("a,a\n1,2\n", "columns appear twice: a"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("a,b\n1,2\n3\n", "row 2: expected 2 columns, got 1"),
        ("a\n1\ninf\n", "row 2, column 'a': 'inf' is not finite"),
        ("a\n9007199254740993\n", "not below 2**53"),
        ("t,b\n2011-01-01,1\nmonday,2\n", "'monday' is text where dates or times were seen"),
        (b"a,b\n\xff,1\n", "UTF-8"),
    ],
)
def test_bad_files_get_one_line(read: Callable[..., Spill], content: str | bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(content)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        chunks.header(tmp_path / "none.csv")
    with pytest.raises(DataError, match="holds nothing: no file ends with"):
        chunks.header(tmp_path)


@pytest.mark.parametrize("name", ["data.csv.gz", "data.parquet"])
def test_a_file_that_is_not_what_its_name_says_is_refused(read: Callable[..., Spill], name: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read("a,b\n1,2\n", name)


def test_gzip_and_parquet_give_what_csv_gives(read: Callable[..., Spill], tmp_path: Path) -> None:
    text = "i,x,c\n1,0.5,red\n2,,blue\n,1.5,red\n"
    plain = read(text)
    expected = values(plain)
    packed = read(gzip.compress(text.encode()), "data.csv.gz")
    assert packed.columns == plain.columns
    np.testing.assert_array_equal(values(packed), expected)
    path = tmp_path / "data.parquet"
    columns = {"i": [1, 2, None], "x": [0.5, None, 1.5], "c": pa.array(["red", "blue", "red"]).dictionary_encode()}
    pq.write_table(pa.table(columns), path, row_group_size=2)
    typed = chunks.read(path, chunks.header(path), tmp_path / "typed.f64", chunk_rows=2)
    assert typed.columns == plain.columns
    assert typed.texts == plain.texts
    np.testing.assert_array_equal(values(typed), expected)


def test_a_parquet_column_of_lists_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": [[1], [2]]}), path)
    with pytest.raises(DataError, match=r"column 'a' holds list<.*drop a"):
        chunks.read(path, ["a"], tmp_path / "rows.f64")


def test_a_folder_is_read_as_one_file_and_hidden_files_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    (folder / "b").mkdir(parents=True)
    (folder / "a.csv").write_text("x,name\n1,red\n2,blue\n")
    with gzip.open(folder / "b" / "c.csv.gz", "wt") as file:
        file.write("name,x\nblue,3\n")
    pq.write_table(pa.table({"x": [4], "name": ["green"]}), folder / "z.parquet")
    for hidden in ("_SUCCESS", ".part.csv", "notes.txt"):
        (folder / hidden).write_text("not data")
    spill = chunks.read(folder, ["x", "name"], tmp_path / "rows")
    assert spill.texts == {"name": ("red", "blue", "green")}
    np.testing.assert_array_equal(values(spill), [[1, 0], [2, 1], [3, 1], [4, 2]])


def test_files_of_other_columns_are_told_and_rows_count_by_file(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text("x,y\n1,2\n")
    (folder / "b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(DataError, match=r"b\.csv: has other columns than .*a\.csv: y, z is only in one"):
        chunks.header(folder)
    (folder / "b.csv").write_text("x,y\nred,2\n")
    with pytest.raises(DataError, match=r"b\.csv: row 1, column 'x': 'red' is text where numbers were seen"):
        chunks.read(folder, ["x", "y"], tmp_path / "rows")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 5_000)
    with pytest.raises(DataError, match="/dev/full: cannot be written: No space left on device: make room"):
        chunks.read(tmp_path / "a.csv", ["x"], Path("/dev/full"))


@pytest.mark.parametrize("text", ["inf", "-Infinity"])
def test_an_infinite_number_is_refused_even_as_the_first_value(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(f"x\n{text}\n1.5\n")
    with pytest.raises(DataError, match=rf"row 1, column 'x': '{text}' is not finite"):
        chunks.read(tmp_path / "a.csv", ["x"], tmp_path / "rows")


@pytest.mark.parametrize("row", ["3,4,5", "3"])
def test_a_ragged_row_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.csv").write_text(f"x,y\n1,2\n{row}\n")
    with pytest.raises(DataError, match=r"row 2: expected 2 columns, got [13]"):
        chunks.read(tmp_path / "a.csv", ["x", "y"], tmp_path / "rows")
