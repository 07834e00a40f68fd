"""Mixed play of a vector of environments, and deep comparison of what two vectors return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import THINK

N = 4
Actor = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]], npt.NDArray[np.int64]]


def half_expert(seed: int) -> Actor:
    """The first half of the rows plays like the expert, the others at random, sometimes illegally."""
    expert, rng = ExpertPolicy(Grammar()), np.random.default_rng(seed)

    def act(
        observations: npt.NDArray[Any], masks: npt.NDArray[np.bool_], resting: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        actions = np.zeros(N, dtype=np.int64)
        actions[: N // 2] = expert.predict(observations[: N // 2])
        for row in range(N // 2, N):
            if masks[row, THINK]:
                actions[row] = THINK  # otherwise most episodes would be a short wrong answer
            elif not resting[row] and rng.random() > 0.01:
                actions[row] = rng.choice(np.flatnonzero(masks[row]))
        return actions

    return act


def assert_same(native: Any, reference: Any) -> None:
    """Deep equality of what two vectors return, element types included."""
    if isinstance(reference, dict):
        assert set(native) == set(reference)
        for key, value in reference.items():
            assert_same(native[key], value)
    elif reference.dtype == object:
        assert native.dtype == object
        for mine, other in zip(native, reference, strict=True):
            assert type(mine) is type(other)
            np.testing.assert_array_equal(mine, other)
    else:
        assert native.dtype == reference.dtype
        np.testing.assert_array_equal(native, reference)
