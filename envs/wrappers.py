"""Wrappers: everything beyond the plain environment can be added, ablated and logged by itself."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.levels import LevelSource
from o1nano.envs.vector import ArithmeticVectorEnv


class CurriculumWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Has an environment draw its problems from a curriculum, and tell it the results.

    Args:
        env: An ``ArithmeticEnv``, wrapped or not.
        curriculum: The state; environments that are given the same object share it.
    """

    def __init__(self, env: gym.Env[Any, Any], curriculum: LevelSource) -> None:
        super().__init__(env)
        self.set_curriculum(curriculum)

    def set_curriculum(self, curriculum: LevelSource) -> None:
        """Replaces the curriculum; reachable through ``env_method("set_curriculum", ...)``."""
        self.curriculum = curriculum
        _set_levels(self.unwrapped, curriculum)


class VectorCurriculumWrapper(VectorWrapper[Any, Any, Any]):
    """``CurriculumWrapper`` for the native vector environment; automatic resets draw from the curriculum too."""

    def __init__(self, env: VectorEnv[Any, Any, Any], curriculum: LevelSource) -> None:
        super().__init__(env)
        self.set_curriculum(curriculum)

    def set_curriculum(self, curriculum: LevelSource) -> None:
        """Replaces the curriculum."""
        self.curriculum = curriculum
        _set_levels(self.unwrapped, curriculum)


def _set_levels(env: object, curriculum: LevelSource) -> None:
    if not isinstance(env, (ArithmeticEnv, ArithmeticVectorEnv)):
        raise ConfigurationError(f"a curriculum around {env!r}; accepted: one of the o1nano environments")
    env.episodes.levels = curriculum
