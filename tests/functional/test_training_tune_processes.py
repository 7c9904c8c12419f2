"""A search with real trials, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import demo
from training.config import TrainConfig
from training.events import Event, StageFinished, TrialAdvanced
from training.run import prepare, tuned


@pytest.mark.slow
def test_a_search_chooses_on_validation_and_goes_on_where_it_was(tmp_path: Path) -> None:
    data = demo.write(tmp_path / "demo.csv", rows=600)
    config = TrainConfig(
        data=data, target=demo.TARGET, order=demo.ORDER, output=tmp_path / "out", epochs=3, tune=4,
        checkpoint=str(tmp_path / "study"),
    )  # fmt: skip
    events: list[Event] = []
    with prepare(config) as prepared:
        chosen = tuned(prepared, config, events.append)
        trials = [event for event in events if isinstance(event, TrialAdvanced)]
        assert {event.trial for event in trials} == {0, 1, 2, 3}
        assert all(event.epochs in (1, 3) for event in trials)
        assert (chosen.name, chosen.checkpoint, chosen.preparation()) == (
            config.name,
            config.checkpoint,
            config.preparation(),
        )
        again: list[Event] = []
        assert tuned(prepared, config, again.append) == chosen
        assert not [event for event in again if isinstance(event, TrialAdvanced)], "every result is kept"
        (done,) = [event for event in again if isinstance(event, StageFinished)]
        assert "of 4 was best" in done.summary
