"""The expert in place of the decoder."""

from __future__ import annotations

import pytest

from tests.helpers.search import Faults, expert_instead


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Replaces the decoder by the expert with a list of faults, which is empty at first."""
    return expert_instead(monkeypatch)
