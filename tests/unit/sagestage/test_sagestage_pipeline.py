"""The data pipeline is measured with rows that it really reads."""

from __future__ import annotations

from sagestage import pipeline


def test_the_pipeline_and_its_features_are_two_targets_of_the_rows_that_were_asked_for() -> None:
    heard: list[str] = []
    whole, features = pipeline.measure(heard.append, rows=2_000)
    assert whole.what == "data pipeline, 2,000 generated rows x 9 columns"
    assert features.aim == "< 500 ms"
    assert {type(whole.met), type(features.met)} == {bool}
    assert heard[0] == "writing 2,000 rows to measure the data pipeline with"
    assert {"reading and sorting them", "fitting", "making features"} <= set(heard)
