"""A Gymnasium vector environment as Stable-Baselines3's ``VecEnv``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from o1nano.envs.errors import ConfigurationError

# What Gymnasium's vectors report of ended episodes, in addition to the infos of the episodes that follow.
_FINAL = ("final_obs", "_final_obs", "final_info", "_final_info")


class GymnasiumVecEnv(VecEnv):
    """Adapts a Gymnasium vector environment in SAME_STEP autoreset mode.

    An agent sees the same as with Stable-Baselines3's own vectors: infos, ``reset_infos``, attributes and pictures are
    those of single environments. An attribute or a method is looked up in two places:

    * First in the vector wrappers and the vector, from the outermost to the innermost. What is found there belongs to
      all environments: a value is repeated for each of them, and a method is called once for all of them.
    * Then, if the vector is a ``SyncVectorEnv`` or an ``AsyncVectorEnv``, in its single environments, each of which
      has its own. What every vector has as well (``render``, ``np_random``, ...) is taken from them directly.

    Args:
        env: The vector environment.

    Raises:
        ConfigurationError: If the environment has another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ConfigurationError(f"autoreset_mode={mode}; expected AutoresetMode.SAME_STEP")
        self.env = env
        self._has_single_envs = isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
        self._actions: npt.NDArray[Any] | None = None
        self._reset_keys: set[str] = set()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Resets every environment, with the seeds and options that were set before.

        Raises:
            ConfigurationError: If environments have different options: a vector environment takes one set for all.
        """
        if any(options != self._options[0] for options in self._options):
            raise ConfigurationError(f"options={self._options}; expected the same for every environment")
        options = self._options[0] or None
        seeded = set(self._seeds) != {None}
        observations, infos = self.env.reset(
            seed=list(self._seeds) if seeded else None,  # type: ignore[arg-type]
            options=options,
        )
        self._reset_seeds()
        self._reset_options()

        self.reset_infos = split_infos(infos, self.num_envs)

        # What a reset reports. ``step_wait`` tells by these names which infos are of the next episode.
        self._reset_keys = set().union(*self.reset_infos)
        out: VecEnvObs = observations
        return out

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keeps the actions for ``step_wait``.

        Args:
            actions: One action for each environment.
        """
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every environment with the actions of ``step_async``.

        Returns:
            Observations, rewards, dones and infos. Of an environment whose episode has ended, the observation is the
            first one of the next episode; its info is that of the ended one, with the last observation in it.
        """
        assert self._actions is not None
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        dones = terminated | truncated

        running = {key: value for key, value in batched.items() if key not in _FINAL}
        infos = split_infos(running, self.num_envs)
        finals = split_infos(batched.get("final_info", {}), self.num_envs)
        for index in np.flatnonzero(dones).tolist():
            # An ended environment reports the reset of its next episode, and what wrappers have added of the ended one.
            reset_info: dict[str, Any] = {}
            added: dict[str, Any] = {}
            for key, value in infos[index].items():
                receiver = reset_info if key in self._reset_keys else added
                receiver[key] = value
            self.reset_infos[index] = reset_info
            infos[index] = {**added, **finals[index], "terminal_observation": batched["final_obs"][index]}

        # Stable-Baselines3 bootstraps the value of an episode that only a time limit has cut.
        cut = truncated & ~terminated
        for info, was_cut in zip(infos, cut.tolist(), strict=True):
            info["TimeLimit.truncated"] = was_cut
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the vector environment inside all its wrappers.

        Raises:
            AttributeError: If it has none.
        """
        state: dict[str, Any] = self._stateful().state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` returned.
        """
        self._stateful().load_state_dict(state)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute, once for each index.

        Args:
            attr_name: Name of the attribute.
            indices: Indices of environments; None means all.

        Raises:
            AttributeError: If there is no such attribute.
        """
        chosen = list(self._get_indices(indices))
        if attr_name in ("observation_space", "action_space"):  # those of a vector are batched
            return [getattr(self, attr_name)] * len(chosen)
        owner = self._owner(attr_name)
        if owner is not None:
            return [getattr(owner, attr_name)] * len(chosen)
        values = self._single_envs(attr_name).get_attr(attr_name)
        return [values[index] for index in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute in the place where it is found.

        Args:
            attr_name: Name of the attribute. A new one is created in the single environments, or else in the vector.
            value: The new value.
            indices: Indices of environments; None means all.

        Raises:
            ConfigurationError: If the environments share the attribute or run in other processes, and ``indices`` does
                not name all of them.
        """
        # Three places: single environments in this process, in other processes, or a layer that all of them share.
        chosen = list(self._get_indices(indices))
        base: Any = self.env.unwrapped
        if self._owner(attr_name) is None and isinstance(base, SyncVectorEnv):
            for index in chosen:
                base.envs[index].set_wrapper_attr(attr_name, value)
            return
        self._require_all(attr_name, chosen)
        if self._owner(attr_name) is None and isinstance(base, AsyncVectorEnv):
            base.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(self._owner(attr_name) or base, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Calls a method.

        Args:
            method_name: Name of the method. A method of the vector is called once, whatever the indices are. If it
                returns one row for each environment, the rows are split.
            *args: Arguments of the method.
            indices: Indices of the environments whose results are returned; None means all.
            **kwargs: Keyword arguments of the method.

        Returns:
            One result for each index.

        Raises:
            AttributeError: If there is no such method.
            ConfigurationError: If the environments run in other processes, and ``indices`` does not name all of them.
        """
        chosen = list(self._get_indices(indices))
        owner = self._owner(method_name)
        if owner is not None:
            result = getattr(owner, method_name)(*args, **kwargs)
            if isinstance(result, (np.ndarray, list, tuple)) and len(result) == self.num_envs:
                return [result[index] for index in chosen]
            return [result] * len(chosen)

        # Processes are called all together, so a call for some of them would also change the others.
        base = self._single_envs(method_name)
        if isinstance(base, SyncVectorEnv):
            returned = []
            for index in chosen:
                method = base.envs[index].get_wrapper_attr(method_name)
                returned.append(method(*args, **kwargs))
            return returned
        self._require_all(method_name, chosen)
        results = base.call(method_name, *args, **kwargs)
        return [results[index] for index in chosen]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Returns, for each index, whether the environment has a wrapper.

        The wrappers of single environments in other processes cannot be seen, only those of their vector.

        Args:
            wrapper_class: Class of the wrapper.
            indices: Indices of environments; None means all.
        """
        chosen = list(self._get_indices(indices))
        base: Any = self.env.unwrapped
        if any(isinstance(layer, wrapper_class) for layer in self._layers()):
            return [True] * len(chosen)
        if isinstance(base, SyncVectorEnv):
            return [is_wrapped(base.envs[index], wrapper_class) for index in chosen]
        return [False] * len(chosen)

    def get_images(self) -> Sequence[npt.NDArray[Any] | None]:
        """Returns a picture of each environment, or Nones if they were not made with ``render_mode="rgb_array"``."""
        if self.render_mode != "rgb_array":
            warnings.warn(f"render_mode={self.render_mode}; expected 'rgb_array'", stacklevel=2)
            return [None] * self.num_envs
        pictures: Any = self.env.render()
        return list(pictures)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the next reset.

        Args:
            seed: Environment i gets ``seed`` + i; None draws one.
        """
        return super().seed(seed)

    def _layers(self) -> Iterator[Any]:
        """Yields the vector wrappers, from the outermost to the innermost, and then the vector inside them."""
        layer: Any = self.env
        yield layer
        while hasattr(layer, "env"):
            layer = layer.env
            yield layer

    def _owner(self, name: str) -> Any:
        """Returns the outermost layer that has an attribute, or None if only single environments do, or nothing does.

        Args:
            name: Name of the attribute.
        """
        # Every vector has a render method and the like; those of the single environments are meant.
        if self._has_single_envs and hasattr(VectorEnv, name):
            return None
        for layer in self._layers():
            if hasattr(layer, name):
                return layer
        return None

    def _stateful(self) -> Any:
        """Returns the layer that has a state."""
        owner = self._owner("state_dict")
        if owner is None:
            raise AttributeError(f"{self.env} has no attribute 'state_dict'")
        return owner

    def _single_envs(self, name: str) -> Any:
        """Returns the vector whose single environments have an attribute.

        They are asked before the attribute is used: an error inside would end the processes of an ``AsyncVectorEnv``.

        Args:
            name: Name of the attribute.

        Raises:
            AttributeError: If a single environment does not have it.
        """
        base: Any = self.env.unwrapped
        if not self._has_single_envs or not all(base.call("has_wrapper_attr", name)):
            raise AttributeError(f"{self.env} has no attribute {name!r}")
        return base

    def _require_all(self, name: str, chosen: Sequence[int]) -> None:
        """Raises a ``ConfigurationError`` that names an attribute, if not all environments are chosen."""
        if set(chosen) != set(range(self.num_envs)):
            raise ConfigurationError(f"indices={chosen} for {name!r}; expected all of {self.num_envs} environments")


class TimedVecMonitor(VecMonitor):
    """Stable-Baselines3's ``VecMonitor`` that measures the time of steps and has a state that can be saved.

    Attributes:
        seconds: Time that steps have taken since the reader has last set it to 0.
    """

    seconds = 0.0

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every environment, and adds the time that it takes to ``seconds``."""
        start = time.perf_counter()
        out = super().step_wait()
        self.seconds += time.perf_counter() - start
        return out

    def state_dict(self) -> dict[str, Any]:
        """Returns the statistics of the running episodes and the state of the environment inside."""
        inside: Any = self.venv
        return {
            "returns": self.episode_returns.copy(),
            "lengths": self.episode_lengths.copy(),
            "count": self.episode_count,
            "env": inside.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` returned.
        """
        inside: Any = self.venv
        self.episode_returns[...] = state["returns"]
        self.episode_lengths[...] = state["lengths"]
        self.episode_count = state["count"]
        inside.load_state_dict(state["env"])


def split_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Splits the infos of a vector into one dict for each environment, with plain Python values.

    ``{"answer": ["143", ""], "_answer": [True, False]}`` becomes ``[{"answer": "143"}, {}]``.

    Args:
        infos: For each key a column of N values, or nested infos. A mask ``[N]`` under ``_key`` marks the environments
            that have a value; without a mask all have one.
        num_envs: N.
    """
    # Keys with the same mask are split together, and mostly all keys share one: of 13 keys one mask is read, not 13.
    keys_of: dict[int, list[str]] = {}
    for key in infos:
        if key.startswith("_") and key[1:] in infos:
            continue  # a mask
        keys_of.setdefault(id(infos.get(f"_{key}")), []).append(key)

    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for keys in keys_of.values():
        mask = infos.get(f"_{keys[0]}")
        present = range(num_envs) if mask is None or mask.all() else np.flatnonzero(mask).tolist()
        columns = [_column(infos[key], num_envs) for key in keys]
        # A row at a time is faster than a value at a time.
        values = list(zip(*columns, strict=True))
        for index in present:
            rows[index].update(zip(keys, values[index], strict=True))
    return rows


def _column(column: Any, num_envs: int) -> Sequence[Any]:
    """Returns one value for each environment.

    Args:
        column: Nested infos, a column of values, or one value that a wrapper reports for all environments.
        num_envs: N.
    """
    # The usual case first.
    if type(column) is np.ndarray and column.shape == (num_envs,):
        values: list[Any] = column.tolist()  # plain Python, which loggers and files can take
        return values
    if isinstance(column, Mapping):
        return split_infos(column, num_envs)
    if isinstance(column, (np.ndarray, list, tuple)) and len(column) == num_envs:
        return list(column)
    return [column] * num_envs
