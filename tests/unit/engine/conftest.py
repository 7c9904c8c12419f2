from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine_support.twin import PASSPHRASE, Embedded


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """A project whose program uses the toy provider, and the embedded engine on it."""
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    return Embedded(tmp_path)
