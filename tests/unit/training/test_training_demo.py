from __future__ import annotations

from pathlib import Path

from tests.training_support.rows import values
from training import chunks, demo


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    first = demo.write(tmp_path / "a.csv", rows=200, seed=3).read_bytes()
    assert demo.write(tmp_path / "deep/b.csv", rows=200, seed=3).read_bytes() == first
    assert demo.write(tmp_path / "c.csv", rows=200, seed=4).read_bytes() != first


def test_a_longer_file_has_every_kind_of_surprise(tmp_path: Path) -> None:
    path = demo.write(tmp_path / "demo.csv")
    assert chunks.header(path) == demo.HEADER
    spill = chunks.read(path, demo.HEADER, tmp_path / "rows.f64")
    assert spill.rows == demo.ROWS
    assert set(spill.texts["weather"]) == set(demo.WEATHER)
    text = path.read_text()
    assert ",," in text, "a missing humidity"
    promotion, holiday = demo.HEADER.index("promotion"), demo.HEADER.index("holiday")
    for column in (promotion, holiday):
        assert set(values(spill)[:, column].tolist()) == {0.0, 1.0}
