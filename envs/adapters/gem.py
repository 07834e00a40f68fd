"""GEM (General Experience Maker): ``gem.make("o1nano:Arithmetic-v0", level="addition/3")``."""

from __future__ import annotations

from typing import Any

import gem
from gem.envs.registration import ENV_REGISTRY, register

from o1nano.envs.core.config import require_whole
from o1nano.envs.problems import FAMILIES
from o1nano.envs.text_env import TextEnv
from o1nano.envs.text_turns import TURN_INSTRUCTIONS, take_turn

ID = "o1nano:Arithmetic-v0"


class GemEnv(gem.Env):  # type: ignore[misc]
    """``TextEnv`` with GEM's interface: observations and actions are texts, and an action ends with a turn.

    Args:
        level: The level of the problems; None draws from ``operations`` and ``digits``.
        max_turns: Truncates an episode after this number of turns, unreadable ones included.
        seed: Of the first reset, if that is given none; ``gem.make_vec`` passes it here.
        **config: The arguments of ``ArithmeticEnv``; by default problems of every family can be posed.
    """

    def __init__(
        self, level: str | None = "addition/3", max_turns: int = 64, seed: int | None = None, **config: Any
    ) -> None:
        super().__init__()
        self.level = level
        self.max_turns = require_whole("max_turns", max_turns, 1)
        self.text_env = TextEnv(**{"operations": tuple(FAMILIES), **config})
        self._turns = 0
        self._first_seed = seed

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Poses a new problem; equal seeds pose equal problems.

        Args:
            seed: Begins a new random stream; None continues the current one.
        """
        if seed is None:
            seed = self._first_seed
        self._first_seed = None
        super().reset(seed)
        self._turns = 0
        context = self.text_env.reset(seed=seed, level=self.level)
        return f"{TURN_INSTRUCTIONS}\n\n{context}", self.text_env.info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Takes a turn.

        Args:
            action: A message whose last line is ``solve(...)`` or ``answer(...)``.
        """
        turn = take_turn(self.text_env, action)
        self._turns += 1
        truncated = not turn.ended and self._turns >= self.max_turns
        return turn.context, turn.reward, turn.ended, truncated, self.text_env.info


if ID not in ENV_REGISTRY:
    register(ID, GemEnv)
