"""The expert as a policy, which plays the reference frames through the environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.vocab import EOS, EQUALS, PROBLEM, SUBTASK, spell
from o1nano.envs.problems.expert import flatten, write_frame, write_solution
from o1nano.envs.problems.registry import read_task


class ExpertPolicy:
    """Plays the reference frames: returns the next token for each observation. It needs nothing but the observation.

    Args:
        env: The environment that it acts in, single or a vector, wrapped or not; or its ``Grammar``. It says whether
            frames think and call.

    Raises:
        ConfigurationError: If it is neither.
    """

    def __init__(self, env: object) -> None:
        grammar = env if isinstance(env, Grammar) else _config_of(env).grammar
        self.thinking = grammar.thinking
        self.call_stack = grammar.calls
        self._frames: dict[bytes, list[int]] = {}

    def predict(self, observations: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Returns the next token of each observation.

        Args:
            observations: ``[N, L]`` padded frames.

        Returns:
            ``[N]`` token ids.
        """
        rows = np.asarray(observations).astype(np.uint8)
        return np.array([self._next(row.tobytes().rstrip(b"\0")) for row in rows], dtype=np.int64)

    def _next(self, frame: bytes) -> int:
        """Returns the token after a frame that the expert has begun."""
        prompt = frame[: frame.index(EQUALS) + 1]
        if prompt not in self._frames:
            self._frames[prompt] = self._write(prompt)
        expert_frame = self._frames[prompt]
        # Under NEXT_STEP, a frame that has ended is observed once more. The action has no effect there.
        return expert_frame[len(frame)] if len(frame) < len(expert_frame) else EOS

    def _write(self, prompt: bytes) -> list[int]:
        """Returns the expert's whole frame for a prompt."""
        task = read_task(prompt[1:-1], least_first=prompt[0] == SUBTASK)
        if isinstance(task, int):
            raise ProblemError(f"nothing to compute in {spell(prompt)!r}; expected a prompt with an operator")

        root = prompt if prompt[0] == PROBLEM else None
        if self.thinking and not self.call_stack:
            return flatten(write_solution(task, root)).tokens
        return write_frame(task, root, thinking=self.thinking).tokens


def _config_of(env: object) -> EnvConfig:
    """Returns the configuration of an environment with Gymnasium's or Stable-Baselines3's interface."""
    inner: Any = getattr(env, "unwrapped", env)
    try:
        # Vectors of several environments have no configuration themselves, so the first environment's is taken.
        config = inner.config if hasattr(inner, "config") else inner.get_attr("config")[0]
    except AttributeError:
        config = None
    if not isinstance(config, EnvConfig):
        raise ConfigurationError(f"environment {env!r:.80}; expected one of o1nano, or its grammar")
    return config
