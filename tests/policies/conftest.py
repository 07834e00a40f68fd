"""Fixtures of the policy's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch as th


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """PyTorch's threads, which compiled loops use too."""
    before = th.get_num_threads()
    th.set_num_threads(request.param)
    yield request.param
    th.set_num_threads(before)
