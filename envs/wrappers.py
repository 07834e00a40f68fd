"""Wrappers: everything beyond the plain environment can be added, ablated and logged by itself.

Both kinds exist twice, for one environment and for the native vector environment, and both act on the episodes
underneath: it does not matter which wrappers lie between, and automatic resets obey them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.core.reward_terms import make_term
from o1nano.envs.core.rewards import RewardTerm
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.vector import ArithmeticVectorEnv


class _OnEpisodes:
    """What a wrapper for one environment and its twin for a vector share."""

    unwrapped: Any

    @property
    def episodes(self) -> Episodes:
        """The episodes of the environment inside.

        Raises:
            ConfigurationError: If there is another environment inside.
        """
        env = self.unwrapped
        if not isinstance(env, (ArithmeticEnv, ArithmeticVectorEnv)):
            raise ConfigurationError(f"{type(self).__name__} around {env!r}; accepted: one of the o1nano environments")
        return env.episodes

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which tokens are legal next: ``[V]``, or ``[N, V]`` for a vector."""
        masks: npt.NDArray[np.bool_] = self.unwrapped.action_masks()
        return masks


class _UnderCurriculum(_OnEpisodes):
    """The methods of both curriculum wrappers; all are meant to be reached through ``env_method``."""

    def set_curriculum(self, curriculum: Curriculum) -> None:
        """Replaces the curriculum. Environments of one process that are given the same object share it."""
        self.episodes.levels = self.curriculum = curriculum

    def curriculum_state(self) -> dict[str, Any]:
        """Returns the state of the curriculum."""
        return self.curriculum.state_dict()

    def load_curriculum_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state of the curriculum, be it in this process or in a worker's."""
        self.curriculum.load_state_dict(state)


class CurriculumWrapper(_UnderCurriculum, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Has an environment draw its problems from a curriculum, and tell it the results.

    Workers of an ``AsyncVectorEnv`` or ``SubprocVecEnv`` are other processes: each has a copy of its own, which
    measures the worker's own episodes. ``env_method("curriculum_state")`` (Gymnasium: ``call``) reads them,
    ``env_method("load_curriculum_state", state)`` sets them.

    Args:
        env: An ``ArithmeticEnv``, wrapped or not.
        curriculum: The state; environments that are given the same object share it.
    """

    def __init__(self, env: gym.Env[Any, Any], curriculum: Curriculum) -> None:
        RecordConstructorArgs.__init__(self, curriculum=curriculum)
        gym.Wrapper.__init__(self, env)
        self.set_curriculum(curriculum)


# Not subscripted: VectorWrapper is generic in the newest Gymnasium only.
class VectorCurriculumWrapper(_UnderCurriculum, VectorWrapper):
    """``CurriculumWrapper`` for the native vector environment, whose environments share the curriculum."""

    def __init__(self, env: VectorEnv[Any, Any, Any], curriculum: Curriculum) -> None:
        VectorWrapper.__init__(self, env)
        self.set_curriculum(curriculum)


class RewardWrapper(_OnEpisodes, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pays one more term beside the true reward: ``RewardWrapper(env, "digits", weight=0.2)``.

    The terminal ``info`` then has ``reward/<name>``, what each term has paid over the episode, ``reward/true``, and
    ``reward/total``, beside ``is_success``. Wrap again to add another term.

    Args:
        env: An ``ArithmeticEnv``, wrapped or not.
        term: A key of ``reward_terms.TERMS``, or a ``RewardTerm``, of which the environment takes a copy.
        **arguments: The arguments of a term that is given by its name.
    """

    def __init__(self, env: gym.Env[Any, Any], term: RewardTerm | str, **arguments: Any) -> None:
        RecordConstructorArgs.__init__(self, term=term, **arguments)
        gym.Wrapper.__init__(self, env)
        self.term = self.episodes.rewards.add(make_term(term, **arguments))


class VectorRewardWrapper(_OnEpisodes, VectorWrapper):
    """``RewardWrapper`` for the native vector environment."""

    def __init__(self, env: VectorEnv[Any, Any, Any], term: RewardTerm | str, **arguments: Any) -> None:
        VectorWrapper.__init__(self, env)
        self.term = self.episodes.rewards.add(make_term(term, **arguments))
