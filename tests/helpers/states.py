"""Saved states, compared and brought through a file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch as th

from o1nano.policies.serialization import to_plain


def through_a_file(state: Any) -> Any:
    """What a checkpoint makes of a state."""
    buffer = io.BytesIO()
    th.save(to_plain(state), buffer)
    buffer.seek(0)
    return th.load(buffer, weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Bit for bit, in any containers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (th.Tensor, np.ndarray)):
        return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
    return bool(one == other)
