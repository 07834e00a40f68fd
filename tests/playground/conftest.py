"""An application whose model is the expert, and its visitors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra demo is not installed")
pytest.importorskip("httpx2", reason="httpx2, with which Starlette is tested, is not installed")

from starlette.testclient import TestClient

from o1nano.policies.search.solver import Solver
from tests.helpers.search import WIDE, Faults, caller, expert_instead
from tests.helpers.visits import HOST, OWN, application


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Replaces the decoder by the expert."""
    return expert_instead(monkeypatch)


@pytest.fixture
def client(scripted: Faults, tmp_path: Path) -> Iterator[TestClient]:
    """The page's own requests, answered by the expert."""
    app = application(Solver(caller(), WIDE), tmp_path)
    with TestClient(app, base_url=f"http://{HOST}", headers=OWN) as client:
        yield client
