from __future__ import annotations

import io
import math

from rich.console import Console

from sagestage.models import Follower
from sagestage.progress import Stages
from training.events import Stage, StageFinished, StageStarted, TrialAdvanced


def shown(*, terminal: bool) -> tuple[str, str]:
    """What stands there after two trials, and at the end."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, color_system=None)
    with Stages(console) as stages, Follower(stages) as follow:
        follow(StageStarted(Stage.TUNE))
        follow(TrialAdvanced("m", 0, 3, 7, 0.5, 0.5, "(as given)"))
        follow(TrialAdvanced("m", 2, 3, 20, 0.25, 0.25, "learning_rate=0.01 hidden=(32,)"))
        follow(TrialAdvanced("m", 1, 3, 7, math.inf, 0.25, "learning_rate=0.03"))
        during = text.getvalue()
        follow(StageFinished(Stage.TUNE, 1.0, "trial 2 was best"))
    return during, text.getvalue()[len(during) :]


def test_trials_stand_in_a_live_table_the_best_first() -> None:
    during, after = shown(terminal=True)
    assert "learning_rate=0.01 hidden=(32,)" in during
    assert after.index("learning_rate=0.01") < after.index("(as given)") < after.index("exploded")


def test_without_a_terminal_the_table_comes_at_the_end() -> None:
    during, after = shown(terminal=False)
    assert "learning_rate" not in during
    assert "trials: 3 of 3" in after
    assert "0.2500" in after
