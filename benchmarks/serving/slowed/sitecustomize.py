"""Python imports this at its start when its folder is on PYTHONPATH: numpy's predictor takes a millisecond more.

For the overload measurement: the worker processes of the server under test are ordinary ones otherwise.
"""

from __future__ import annotations

import time
from typing import Any

from inference.predictors.numpy import NumpyPredictor

FAST_CALL, FAST_INIT = NumpyPredictor.__call__, NumpyPredictor.__init__


def call(self: NumpyPredictor, features: Any) -> Any:
    """The same answer, a millisecond later."""
    time.sleep(0.001)
    return FAST_CALL(self, features)


def init(self: NumpyPredictor, *arguments: Any) -> None:
    """Never on the event loop."""
    FAST_INIT(self, *arguments)
    self.inline_rows = 0


NumpyPredictor.__call__, NumpyPredictor.__init__ = call, init  # type: ignore[method-assign]
