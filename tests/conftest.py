"""Which tests may run beside each other, where pytest-xdist runs several at a time (`make test` does).

Unit and property tests stand alone. Functional tests start servers, clouds, trainings and containers, and wait for
them: so that they have the machine mostly to themselves they run one after another, in two rows: those whose judge is
another program (the Pulumi CLI, the SageMaker SDK, Docker), and the rest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FUNCTIONAL = Path(__file__).parent / "functional"
JUDGED = ("test_container_", "test_local_mode", "test_real_cli_", "test_engine_real")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put each functional test into its row."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.path.is_relative_to(FUNCTIONAL):
            row = "judged" if item.path.name.startswith(JUDGED) else "functional"
            item.add_marker(pytest.mark.xdist_group(row))
