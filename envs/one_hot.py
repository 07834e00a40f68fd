"""One-hot observations and a small alphabet, for agents that are no sequence models.

A network without embeddings reads token ids as magnitudes: 9 would be nine times 1, and ``+`` a bit more than 9. One
input for every (position, token) pair lets its first layer learn an embedding for each. Padding is all zeros, so that
what is not there yet moves nothing; positions count from the left, where the prompt stays put while an answer grows.

An agent that cannot mask must stumble on the first right answer: with a hundred tokens to choose from, one episode in
18,000 of the one-digit problems, with the twelve that answers are made of, one in 260.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from o1nano.envs.errors import ActionError, ConfigurationError
from o1nano.envs.language.vocab import ID, PAD, TOKENS

Array = npt.NDArray[Any]
Tokens = Sequence[str] | None

ONE_HOT_DTYPES = ("float32", "uint8")


class Alphabet:
    """What an agent reads and writes: turns token ids into indicators, and its actions into token ids.

    Args:
        space: The space of one observation, ``[T]`` token ids.
        tokens: The K tokens that get an input at each position, by default all but padding. What an agent never meets
            costs time and teaches nothing; tokens that are left out read as padding.
        actions: The tokens that an action chooses among, by default all, padding too: an action is a token id then.
        dtype: ``"float32"``, which every library accepts, or ``"uint8"``, a quarter of the memory in a buffer.

    Attributes:
        observation_space: ``Box(0, 1, (T * K,))``.
        action_space: ``Discrete``, one action for each of ``actions``.
        action_ids: The token id of each action.

    Raises:
        ConfigurationError: If the observations are no token ids, or there is no such token or dtype.
    """

    def __init__(self, space: gym.Space[Any], tokens: Tokens, actions: Tokens, dtype: str) -> None:
        if dtype not in ONE_HOT_DTYPES:
            raise ConfigurationError(f"dtype={dtype!r}; accepted: {', '.join(ONE_HOT_DTYPES)}")
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or set(space.high) != {len(TOKENS) - 1}:
            raise ConfigurationError(f"observation space {space}; accepted: a Box [T] of token ids")
        self._read = _ids("tokens", TOKENS[PAD + 1 :] if tokens is None else tokens)
        self.action_ids = np.arange(len(TOKENS)) if actions is None else _ids("actions", actions)
        self.observation_space = spaces.Box(0, 1, (space.shape[0] * len(self._read),), np.dtype(dtype).type)
        self.action_space = spaces.Discrete(len(self.action_ids))

    def one_hot(self, tokens: Array) -> Array:
        """Returns ``[..., T * K]`` for ``[..., T]``: a 1 at ``t * K + k`` where position t holds the k-th token."""
        hot = tokens.astype(np.uint8)[..., None] == self._read.astype(np.uint8)  # [..., T, K]
        out: Array = hot.reshape(*tokens.shape[:-1], -1).astype(self.observation_space.dtype)
        return out


class OneHotWrapper(gym.Wrapper[Array, np.int64, Array, np.int64], RecordConstructorArgs):
    """Gives ``[T * K]`` indicators instead of ``[T]`` token ids; see ``Alphabet`` for the arguments."""

    def __init__(
        self, env: gym.Env[Array, np.int64], tokens: Tokens = None, actions: Tokens = None, dtype: str = "float32"
    ) -> None:
        RecordConstructorArgs.__init__(self, tokens=tokens, actions=actions, dtype=dtype)
        gym.Wrapper.__init__(self, env)
        self.alphabet = Alphabet(env.observation_space, tokens, actions, dtype)
        self.observation_space = self.alphabet.observation_space
        self.action_space = self.alphabet.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Poses a new problem."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.alphabet.one_hot(observation), info

    def step(self, action: np.int64) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        """Emits one token."""
        if not 0 <= action < len(self.alphabet.action_ids):
            raise ActionError(f"action {action}; accepted: 0 to {len(self.alphabet.action_ids) - 1}")
        observation, reward, terminated, truncated, info = self.env.step(self.alphabet.action_ids[action])
        return self.alphabet.one_hot(observation), reward, terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[actions]``: which are legal next."""
        mask: npt.NDArray[np.bool_] = self.env.get_wrapper_attr("action_masks")()[self.alphabet.action_ids]
        return mask


# Not subscripted: VectorWrapper is generic in the newest Gymnasium only.
class VectorOneHotWrapper(VectorWrapper):
    """``OneHotWrapper`` for vector environments, in both autoreset modes: final observations are turned too."""

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
        """Resets every environment."""
        # Every vector takes a list of seeds too; the type of the base class does not say so.
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self.alphabet.one_hot(observations), infos

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Steps every environment."""
        observations, rewards, terminated, truncated, infos = self.env.step(self.alphabet.action_ids[actions])
        if "final_obs" in infos:
            final = np.empty(self.num_envs, dtype=object)
            for index in np.flatnonzero(infos["_final_obs"]):
                final[index] = self.alphabet.one_hot(infos["final_obs"][index])
            infos = {**infos, "final_obs": final}
        return self.alphabet.one_hot(observations), rewards, terminated, truncated, infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, actions]``: which are legal next."""
        env: Any = self.unwrapped
        mask: npt.NDArray[np.bool_] = env.action_masks()[:, self.alphabet.action_ids]
        return mask


def _ids(name: str, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
    """Returns the ids of tokens."""
    for token in tokens:
        if ID.get(token, PAD) == PAD:
            raise ConfigurationError(f"{token!r} in {name}; accepted: {' '.join(TOKENS[PAD + 1 :])}")
    return np.array([ID[token] for token in tokens])
