"""Wrappers that put the legal actions where other libraries look for them: into ``info`` or into the observation.

Without them nothing is computed: the environments have a method, ``action_masks()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from o1nano.envs.errors import ConfigurationError, require_choice

Array = npt.NDArray[Any]
Place = Literal["info", "observation"]
KEY = "action_mask"


def masked_space(space: gym.Space[Any], actions: gym.Space[Any]) -> spaces.Dict:
    """Returns the space of an observation with its mask.

    Args:
        space: The space of the observation without it.
        actions: The space of actions.
    """
    mask = spaces.Box(0, 1, (_size(actions),), np.int8)
    return spaces.Dict({"observation": space, KEY: mask})


class ActionMaskWrapper(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Puts ``action_mask``, an ``[actions]`` array of ``int8``, 1 for a legal action, where an agent looks for it.

    After the end of an episode all actions are legal.

    Args:
        env: An environment with ``action_masks()``, wrapped or not. ``OneHotWrapper`` belongs inside.
        into: ``"info"``: ``info["action_mask"]``, as Gymnasium's Taxi has it. ``"observation"``: observations become
            dicts ``{"observation": ..., "action_mask": ...}``.

    Raises:
        ConfigurationError: If there is no such place, no mask, or one that is not the size of the action space.
    """

    def __init__(self, env: gym.Env[Any, Any], into: Place = "info") -> None:
        RecordConstructorArgs.__init__(self, into=into)
        gym.Wrapper.__init__(self, env)
        require_choice("into", into, Place)
        self.into = into
        if not env.has_wrapper_attr("action_masks"):
            raise ConfigurationError(f"{env!r:.80} has no action_masks(); expected an environment with it")
        _require_size(self.action_masks().shape[-1], env.action_space)
        if into == "observation":
            self.observation_space = masked_space(env.observation_space, env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Poses a new problem."""
        return self._with_mask(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._with_mask(observation, info)
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[actions]``: which are legal next."""
        mask: npt.NDArray[np.bool_] = self.env.get_wrapper_attr("action_masks")()
        return mask

    def _with_mask(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = self.action_masks().astype(np.int8)
        if self.into == "info":
            return observation, {**info, KEY: mask}
        return {"observation": observation, KEY: mask}, info


# Not subscripted: VectorWrapper is generic in the newest Gymnasium only.
class VectorActionMaskWrapper(VectorWrapper):
    """``ActionMaskWrapper`` for vector environments, in all autoreset modes: ``[N, actions]`` masks.

    Under ``SameStep`` the mask is that of the new episode, as the observation is. In a final observation, after which
    there is no action, all are legal.

    Args:
        env: A vector of environments with ``action_masks()``, wrapped or not. ``VectorOneHotWrapper`` belongs inside.
        into: See ``ActionMaskWrapper``.

    Raises:
        ConfigurationError: If there is no such place, or the mask is not the size of the action space.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], into: Place = "info") -> None:
        super().__init__(env)
        require_choice("into", into, Place)
        self.into = into
        _require_size(self.action_masks().shape[-1], env.single_action_space)
        if into == "observation":
            self.single_observation_space = masked_space(env.single_observation_space, env.single_action_space)
            self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets every environment."""
        # Every vector takes a list of seeds too; the type of the base class does not say so.
        return self._with_masks(*self.env.reset(seed=seed, options=options))  # type: ignore[arg-type]

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Steps every environment."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        observations, infos = self._with_masks(observations, infos)
        return observations, rewards, terminated, truncated, infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, actions]``: which are legal next."""
        env: Any = self.env
        while not hasattr(env, "action_masks"):
            if env is env.unwrapped:
                return np.stack(env.call("action_masks"))  # every vector has this, Gymnasium's own too
            env = env.env
        masks: npt.NDArray[np.bool_] = env.action_masks()
        return masks

    def _with_masks(self, observations: Any, infos: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        masks = self.action_masks().astype(np.int8)
        if self.into == "info":
            everywhere = np.ones(self.num_envs, dtype=bool)
            return observations, {**infos, KEY: masks, f"_{KEY}": everywhere}

        if "final_obs" in infos:
            final = np.empty(self.num_envs, dtype=object)
            for index in np.flatnonzero(infos["_final_obs"]):
                final[index] = {"observation": infos["final_obs"][index], KEY: np.ones_like(masks[index])}
            infos = {**infos, "final_obs": final}
        return {"observation": observations, KEY: masks}, infos


def _size(actions: gym.Space[Any]) -> int:
    if not isinstance(actions, spaces.Discrete):
        raise ConfigurationError(f"action space {actions}; expected Discrete")
    return int(actions.n)


def _require_size(size: int, actions: gym.Space[Any]) -> None:
    if size != _size(actions):
        raise ConfigurationError(
            f"a mask of {size} actions for {actions}; expected one for each: the one-hot wrapper directly inside"
        )
