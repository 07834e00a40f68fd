"""Wrappers: everything beyond the plain environment can be added, ablated and logged by itself.

Each wrapper exists twice, for one environment and for the native vector environment. Curricula and rewards act on the
episodes of the environment inside. So it does not matter which wrappers lie between, and automatic resets use them too.

One-hot observations and a small alphabet are for agents that are not sequence models. A network without embeddings
reads token ids as magnitudes: 9 would be nine times 1. With one input for every (position, token) pair, its first layer
can learn an embedding for each. Padding is all zeros, and positions count from the left, so the prompt stays in place
while an answer grows. An agent that cannot mask must find its first right answer by chance. With a hundred tokens to
choose from, that is one episode in 18,000 of the one-digit problems; with the twelve tokens that answers are made of,
one in 260.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from o1nano.envs.arithmetic import ArithmeticEnv
from o1nano.envs.core.actions import check_actions
from o1nano.envs.core.curriculum import Curriculum
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.core.reward_terms import make_term
from o1nano.envs.core.rewards import RewardTerm
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import ID, PAD, TOKENS
from o1nano.envs.vector import ArithmeticVectorEnv

Array = npt.NDArray[Any]
Tokens = Sequence[str] | None

ONE_HOT_DTYPES = ("float32", "uint8")


class _OnEpisodes:
    """The common part of a wrapper for one environment and its twin for a vector."""

    unwrapped: Any

    @property
    def episodes(self) -> Episodes:
        """The episodes of the environment inside.

        Raises:
            ConfigurationError: If it is not an environment of o1nano.
        """
        env = self.unwrapped
        if not isinstance(env, (ArithmeticEnv, ArithmeticVectorEnv)):
            raise ConfigurationError(f"{type(self).__name__} around {env!r}; expected one of the o1nano environments")
        return env.episodes

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which tokens are legal next: ``[V]``, or ``[N, V]`` for a vector."""
        masks: npt.NDArray[np.bool_] = self.unwrapped.action_masks()
        return masks


class _UnderCurriculum(_OnEpisodes):
    """The methods of both curriculum wrappers. Vectors reach them through ``env_method``."""

    def set_curriculum(self, curriculum: Curriculum) -> None:
        """Replaces the curriculum.

        Args:
            curriculum: The new one. Environments of one process that are given the same object share it.
        """
        # The environment draws and records by itself; the wrapper only says where.
        self.curriculum = curriculum
        self.episodes.level_sampler = curriculum

    def curriculum_state(self) -> dict[str, Any]:
        """Returns the state of the curriculum."""
        return self.curriculum.state_dict()

    def load_curriculum_state(self, state: Mapping[str, Any]) -> None:
        """Restores what ``curriculum_state`` returned.

        Args:
            state: The state, from this process or from a worker's.
        """
        self.curriculum.load_state_dict(state)


class CurriculumWrapper(_UnderCurriculum, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Draws the problems of an environment from a curriculum, and records the results in it.

    The workers of an ``AsyncVectorEnv`` or ``SubprocVecEnv`` are other processes. Each has a copy of the curriculum,
    which measures the worker's own episodes. ``env_method("curriculum_state")`` (Gymnasium: ``call``) reads the copies,
    and ``env_method("load_curriculum_state", state)`` sets them.

    Args:
        env: An ``ArithmeticEnv``, wrapped or not.
        curriculum: The curriculum. Environments that are given the same object share it.
    """

    def __init__(self, env: gym.Env[Any, Any], curriculum: Curriculum) -> None:
        # Gymnasium writes the arguments of wrappers into the spec, from which it makes the same environment again.
        RecordConstructorArgs.__init__(self, curriculum=curriculum)
        gym.Wrapper.__init__(self, env)
        self.set_curriculum(curriculum)


# Not subscripted: VectorWrapper is generic in the newest Gymnasium only.
class VectorCurriculumWrapper(_UnderCurriculum, VectorWrapper):
    """``CurriculumWrapper`` for the native vector environment, whose environments share the curriculum.

    Args:
        env: An ``ArithmeticVectorEnv``, wrapped or not.
        curriculum: The curriculum.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], curriculum: Curriculum) -> None:
        VectorWrapper.__init__(self, env)
        self.set_curriculum(curriculum)


class RewardWrapper(_OnEpisodes, gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds a term to the reward: ``RewardWrapper(env, "digits", weight=0.2)``.

    ``info`` then has ``reward/<name>``, what each term has paid in the episode so far, ``reward/true`` and
    ``reward/total``. ``is_success`` stays. Wrap again to add another term.

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
    """``RewardWrapper`` for the native vector environment.

    Args:
        env: An ``ArithmeticVectorEnv``, wrapped or not.
        term: A key of ``reward_terms.TERMS``, or a ``RewardTerm``, of which the environment takes a copy.
        **arguments: The arguments of a term that is given by its name.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], term: RewardTerm | str, **arguments: Any) -> None:
        VectorWrapper.__init__(self, env)
        self.term = self.episodes.rewards.add(make_term(term, **arguments))


class Alphabet:
    """The tokens that an agent reads and writes: turns observations into indicators, and actions into token ids.

    Args:
        space: The space of one observation, ``[T]`` token ids.
        tokens: The K tokens that get an input at each position, by default all but padding. Leave out tokens that never
            occur: they only cost time. A token that is left out reads as padding.
        actions: The tokens that an action chooses among. By default all, padding included, so that an action is a token
            id.
        dtype: ``"float32"``, which every library accepts, or ``"uint8"``, a quarter of the memory in a buffer.

    Attributes:
        observation_space: ``Box(0, 1, (T * K,))``.
        action_space: ``Discrete``, one action for each of ``actions``.
        action_ids: The token id of each action.

    Raises:
        ConfigurationError: If the observations are not token ids, or there is no such token or dtype.
    """

    def __init__(self, space: gym.Space[Any], tokens: Tokens, actions: Tokens, dtype: str) -> None:
        if dtype not in ONE_HOT_DTYPES:
            raise ConfigurationError(f"dtype={dtype!r}; expected one of {', '.join(ONE_HOT_DTYPES)}")

        # Observations that another wrapper has stacked or scaled are no token ids any more.
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or set(space.high) != {len(TOKENS) - 1}:
            raise ConfigurationError(f"observation space {space}; expected a Box [T] of token ids")
        self._read = _ids("tokens", TOKENS[PAD + 1 :] if tokens is None else tokens)
        self.action_ids = np.arange(len(TOKENS)) if actions is None else _ids("actions", actions)
        self.observation_space = spaces.Box(0, 1, (space.shape[0] * len(self._read),), np.dtype(dtype).type)
        self.action_space = spaces.Discrete(len(self.action_ids))

    def one_hot(self, tokens: Array) -> Array:
        """Returns ``[..., T * K]`` indicators: a 1 at ``t * K + k`` where position t holds the k-th token.

        With the tokens ``1 2 +``, the frame ``2 +`` becomes ``0 1 0  0 0 1``.

        Args:
            tokens: ``[..., T]`` token ids.
        """
        # Compare every position with every token, then join the last two axes.
        hot = tokens.astype(np.uint8)[..., None] == self._read.astype(np.uint8)  # [..., T, K]
        out: Array = hot.reshape(*tokens.shape[:-1], -1).astype(self.observation_space.dtype)
        return out

    def tokens_of(self, actions: Any, shape: tuple[int, ...]) -> Any:
        """Returns the token ids of actions.

        Args:
            actions: One action, or one for each environment.
            shape: ``()`` for one environment, ``(N,)`` for a vector of N.

        Raises:
            ActionError: If the shape or the type is wrong, or a value is out of range.
        """
        return self.action_ids[check_actions(actions, shape, len(self.action_ids))]


class OneHotWrapper(gym.Wrapper[Array, np.int64, Array, np.int64], RecordConstructorArgs):
    """Turns observations of ``[T]`` token ids into ``[T * K]`` indicators, and can restrict the actions.

    Args:
        env: The environment.
        tokens: The K tokens that get an input at each position, by default all but padding.
        actions: The tokens that an action chooses among, by default all.
        dtype: ``"float32"`` or ``"uint8"``.
    """

    def __init__(
        self, env: gym.Env[Array, np.int64], tokens: Tokens = None, actions: Tokens = None, dtype: str = "float32"
    ) -> None:
        RecordConstructorArgs.__init__(self, tokens=tokens, actions=actions, dtype=dtype)
        gym.Wrapper.__init__(self, env)
        self.alphabet = Alphabet(env.observation_space, tokens, actions, dtype)
        self.observation_space = self.alphabet.observation_space
        self.action_space = self.alphabet.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Poses a new problem. The arguments are those of ``ArithmeticEnv.reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.alphabet.one_hot(observation), info

    def step(self, action: np.int64) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        """Emits the token that the action stands for."""
        token = self.alphabet.tokens_of(action, ())
        observation, reward, terminated, truncated, info = self.env.step(token)
        return self.alphabet.one_hot(observation), reward, terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[actions]``: which actions are legal next."""
        # The environment's mask is over all tokens, an action chooses among some.
        mask: npt.NDArray[np.bool_] = self.env.get_wrapper_attr("action_masks")()[self.alphabet.action_ids]
        return mask


# Not Gymnasium's VectorObservationWrapper: that refuses SAME_STEP. Not subscripted: VectorWrapper is generic in the
# newest Gymnasium only.
class VectorOneHotWrapper(VectorWrapper):
    """``OneHotWrapper`` for vector environments, in all autoreset modes. Final observations are turned too.

    Args:
        env: The vector environment.
        tokens: The K tokens that get an input at each position, by default all but padding.
        actions: The tokens that an action chooses among, by default all.
        dtype: ``"float32"`` or ``"uint8"``.
    """

    def __init__(
        self, env: VectorEnv[Array, Array, Array], tokens: Tokens = None, actions: Tokens = None, dtype: str = "float32"
    ) -> None:
        super().__init__(env)
        self.alphabet = Alphabet(env.single_observation_space, tokens, actions, dtype)
        self.single_observation_space = self.alphabet.observation_space
        self.single_action_space = self.alphabet.action_space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Resets the environments. The arguments are those of ``ArithmeticVectorEnv.reset``."""
        # Every vector takes a list of seeds too, although the type of the base class does not say so.
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self.alphabet.one_hot(observations), infos

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Steps every environment."""
        observations, rewards, terminated, truncated, infos = self.env.step(
            self.alphabet.tokens_of(actions, (self.num_envs,))
        )

        # Under SAME_STEP the last observations of episodes that have ended are in the infos.
        if "final_obs" in infos:
            final = np.empty(self.num_envs, dtype=object)
            for index in np.flatnonzero(infos["_final_obs"]):
                final[index] = self.alphabet.one_hot(infos["final_obs"][index])
            infos = {**infos, "final_obs": final}

        return self.alphabet.one_hot(observations), rewards, terminated, truncated, infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, actions]``: which actions are legal next."""
        env: Any = self.unwrapped
        masks = np.stack(env.call("action_masks"))  # every vector has this, Gymnasium's own too
        return masks[:, self.alphabet.action_ids]


def _ids(name: str, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
    """Returns the ids of tokens that are given as the argument ``name``."""
    # Padding cannot be named either: it is never legal, and reads as zeros.
    for token in tokens:
        if ID.get(token, PAD) == PAD:
            raise ConfigurationError(f"{token!r} in {name}; expected one of {' '.join(TOKENS[PAD + 1 :])}")
    return np.array([ID[token] for token in tokens])
