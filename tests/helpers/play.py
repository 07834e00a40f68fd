"""Playing scripts of tokens, for the tests of the environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.language.vocab import ID
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Level, Problem, draw


def ids(text: str) -> list[int]:
    """Returns the token ids of space-separated tokens."""
    return [ID[token] for token in text.split()]


def emit(env: ArithmeticEnv, script: str) -> tuple[float, bool, dict[str, Any]]:
    """Emits every token of a script; the episode may end with the last one only. Returns reward, end and info."""
    reward, terminated, info = 0.0, False, {}
    for token in script.split():
        assert not terminated, f"the episode ended before {token!r}: {info}"
        assert reward == 0.0
        _, reward, terminated, truncated, info = env.step(np.int64(ID[token]))
        assert not truncated
    return float(reward), terminated, info


def play(script: str, problem: str = "98+45", **config: Any) -> tuple[float, dict[str, Any]]:
    """Plays a script against a problem to the end of its episode. Returns the reward and the terminal info."""
    env = ArithmeticEnv(**config)
    env.reset(seed=0, options={"problem": problem})
    reward, terminated, info = emit(env, script)
    assert terminated, "the script leaves the episode unfinished"
    return reward, info


@st.composite
def problems(draw_from: st.DrawFn, largest: int = 4) -> Problem:
    """Hypothesis strategy: problems of every family, sizes 1 to ``largest``, in both phrasings."""
    level = Level(draw_from(st.sampled_from(sorted(FAMILIES))), draw_from(st.integers(1, largest)))
    rng = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    return draw(level, rng, "all", "mixed")
