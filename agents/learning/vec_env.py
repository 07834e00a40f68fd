"""A Gymnasium vector environment as Stable-Baselines3's ``VecEnv``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from o1nano.envs.errors import ConfigurationError


class GymnasiumVecEnv(VecEnv):
    """Adapts a vector environment in SAME_STEP autoreset mode.

    Args:
        env: The environment; methods such as ``action_masks`` are called on it for all its environments at once.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ConfigurationError(f"autoreset_mode={mode}; accepted: AutoresetMode.SAME_STEP")
        self.env = env
        self._actions: npt.NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Resets every environment, with the seeds and options set before.

        Raises:
            ConfigurationError: If environments have different options: a vector environment takes one set for all.
        """
        if any(options != self._options[0] for options in self._options):
            raise ConfigurationError(f"options={self._options}; accepted: the same for every environment")
        options = self._options[0] or None
        seeded = any(seed is not None for seed in self._seeds)  # 0 is a seed
        observations, infos = self.env.reset(
            seed=list(self._seeds) if seeded else None,  # type: ignore[arg-type]
            options=options,
        )
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [_of(infos, index) for index in range(self.num_envs)]
        out: VecEnvObs = observations
        return out

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keeps the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every environment."""
        assert self._actions is not None
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        dones = terminated | truncated
        for index in np.flatnonzero(dones).tolist():
            infos[index] = {
                **_of(batched["final_info"], index),
                "terminal_observation": batched["final_obs"][index],
                "TimeLimit.truncated": bool(truncated[index]),
            }
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the vector environment, behind all its wrappers."""
        state: dict[str, Any] = self._owner("state_dict").state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self._owner("load_state_dict").load_state_dict(state)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the vector environment, once for each index."""
        return [getattr(self._owner(attr_name), attr_name, None)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the vector environment, where it is."""
        setattr(self._owner(attr_name), attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Calls a method of the vector environment; a result of one row an environment is split into rows."""
        result = getattr(self._owner(method_name), method_name)(*args, **kwargs)
        chosen = list(self._get_indices(indices))
        batched = isinstance(result, (np.ndarray, list)) and len(result) == self.num_envs
        return [result[index] if batched else result for index in chosen]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Tells whether the vector environment has a wrapper."""
        env: Any = self.env
        found = isinstance(env, wrapper_class)
        while hasattr(env, "env") and not found:
            env = env.env
            found = isinstance(env, wrapper_class)
        return [found] * len(list(self._get_indices(indices)))

    def _owner(self, name: str) -> Any:
        """Returns the outermost wrapper that has an attribute: Gymnasium's vector wrappers do not pass them on."""
        env: Any = self.env
        while not hasattr(env, name) and hasattr(env, "env"):
            env = env.env
        return env

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the next reset."""
        return super().seed(seed)


class Monitor(VecMonitor):
    """``VecMonitor`` around a ``GymnasiumVecEnv``, with a state that can be saved.

    Attributes:
        seconds: How long steps have taken; whoever reads it sets it back.
    """

    seconds = 0.0

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every environment."""
        start = time.perf_counter()
        out = super().step_wait()
        self.seconds += time.perf_counter() - start
        return out

    def state_dict(self) -> dict[str, Any]:
        """Returns the statistics of the running episodes and the state of the environment inside."""
        inside: Any = self.venv
        arrays = {"returns": self.episode_returns.copy(), "lengths": self.episode_lengths.copy()}
        return {**arrays, "count": self.episode_count, "env": inside.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        inside: Any = self.venv
        self.episode_returns[...], self.episode_lengths[...] = state["returns"], state["lengths"]
        self.episode_count = state["count"]
        inside.load_state_dict(state["env"])


def _of(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """Picks one environment's info out of a batched one."""
    return {
        key: value[index].item() if isinstance(value[index], np.generic) else value[index]
        for key, value in infos.items()
        if not key.startswith("_") and infos.get(f"_{key}", np.ones(index + 1, bool))[index]
    }
