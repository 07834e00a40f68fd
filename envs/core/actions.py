"""Checks an agent's actions before anything changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.errors import ActionError


def check_actions(actions: Any, shape: tuple[int, ...], size: int) -> npt.NDArray[np.intp]:
    """Returns actions as an integer array.

    Args:
        actions: One action, or an array or sequence with one for each environment.
        shape: ``()`` for one environment, ``(N,)`` for a vector of N.
        size: Number of actions; the largest is ``size - 1``.

    Raises:
        ActionError: If the shape or the type is wrong, or a value is out of range.
    """
    array = np.asarray(actions)
    # Booleans and unsigned integers are fine. Floats are refused even if they are whole numbers.
    if array.shape != shape:
        raise ActionError(f"{'actions' if shape else 'an action'} of shape {array.shape}; {_expected(shape, size)}")
    if array.dtype.kind not in "iub":
        raise ActionError(f"action {array.flat[0]} of type {array.dtype}; {_expected(shape, size)}")
    if array.min() < 0 or array.max() >= size:
        outside = array[(array < 0) | (array >= size)]
        raise ActionError(f"action {outside.flat[0]}; {_expected(shape, size)}")
    return array.astype(np.intp, copy=False)


def _expected(shape: tuple[int, ...], size: int) -> str:
    """Returns what an error says was expected."""
    count = f"{shape[0]} integers" if shape else "one integer"
    return f"expected {count} from 0 to {size - 1}"
