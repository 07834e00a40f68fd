"""The native vector environment: N call stacks, one array operation a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from o1nano.envs.arithmetic import observation_space
from o1nano.envs.core.call_stack import RUNNING
from o1nano.envs.core.episodes import EnvConfig, Episodes
from o1nano.envs.core.stacks import Ints
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE

Array = npt.NDArray[Any]


class ArithmeticVectorEnv(VectorEnv[Array, Array, Array]):
    """N environments of ``ArithmeticEnv`` on one transition function; the same seeds give the same episodes.

    Args:
        num_envs: N.
        max_episode_steps: Truncates after so many steps; None never does.
        autoreset_mode: ``AutoresetMode.SAME_STEP`` or ``NEXT_STEP``.
        obs_dtype: As in ``ArithmeticEnv``.
        group_size: Every problem that is drawn is posed to so many environments, one after the other as their episodes
            begin, whichever they are: attempts that can be compared. It is drawn by the first of them, so that the
            problems of one environment no longer depend on its own seed alone. An explicit reset begins a new group.
        **config: Fields of ``EnvConfig``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        obs_dtype: str = "float32",
        group_size: int = 1,
        **config: Any,
    ) -> None:
        if num_envs < 1:
            raise ConfigurationError(f"num_envs={num_envs!r}; accepted: at least 1")
        if group_size < 1:
            raise ConfigurationError(f"group_size={group_size!r}; accepted: at least 1")
        modes = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise ConfigurationError(f"autoreset_mode={autoreset_mode!r}; accepted: 'SameStep', 'NextStep'")
        mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.num_envs, self.max_episode_steps, self._same_step = num_envs, max_episode_steps, mode.name == "SAME_STEP"
        self.config = EnvConfig(**config)
        self.episodes = Episodes(num_envs, self.config, group_size)
        self.single_observation_space = observation_space(self.config, obs_dtype)
        self.single_action_space = spaces.Discrete(VOCAB_SIZE)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators: list[np.random.Generator] = [seeding.np_random()[0] for _ in range(num_envs)]
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._ended = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Poses new problems. A seed s gives environment i the generator of seed s + i, as Gymnasium's vectors do."""
        seeds = [int(seed) + i for i in range(self.num_envs)] if isinstance(seed, (int, np.integer)) else seed
        if seeds is None:
            seeds = [None] * self.num_envs
        if len(seeds) != self.num_envs:
            raise ConfigurationError(f"{len(seeds)} seeds; accepted: one for each of {self.num_envs} environments")
        super().reset(seed=seeds[0])
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ConfigurationError(f"reset_mask={mask}; accepted: {self.num_envs} truth values")
        for i in np.flatnonzero(mask).tolist():
            own = seeds[i]
            if own is not None:
                self.generators[i] = seeding.np_random(own)[0]
        self.episodes.part()
        infos = self._start({}, np.flatnonzero(mask), options)
        return self._observe(), infos

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Emits one token in every environment."""
        resting = np.flatnonzero(self._ended)  # NEXT_STEP: for these, this step is the reset
        reward, outcome = self.episodes.step(np.asarray(actions))
        reward[resting], outcome[resting] = 0.0, RUNNING
        self._steps += 1
        infos = self._start({}, resting)
        terminated = outcome != RUNNING
        truncated = np.zeros_like(terminated)
        if self.max_episode_steps is not None:
            truncated = ~terminated & (self._steps >= self.max_episode_steps)
        observations = self._observe()
        ended = (terminated | truncated).nonzero()[0]
        if len(ended):
            infos = self._end(ended, outcome, observations, infos)
        return observations, reward, terminated, truncated, infos

    def state_dict(self) -> dict[str, Any]:
        """Returns the running episodes and the random states as plain containers and arrays."""
        return {
            "episodes": self.episodes.state_dict(),
            "generators": [generator.bit_generator.state for generator in self.generators],
            "steps": self._steps.copy(),
            "ended": self._ended.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of as many environments with the same arguments returned."""
        self.episodes.load_state_dict(state["episodes"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._steps[...], self._ended[...] = state["steps"], state["ended"]

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, V]``: which tokens are legal next; all of them where the next step is a reset."""
        masks = self.episodes.stacks.masks()
        masks[self._ended] = True
        return masks

    def _end(self, ended: Ints, outcome: Array, observations: Array, infos: dict[str, Any]) -> dict[str, Any]:
        """Reports episodes; under SAME_STEP also begins the next ones, whose first observations take their rows.

        A truncated episode has no terminal info, as a single one under a ``TimeLimit`` has none.
        """
        stacks = self.episodes.stacks
        finished = ended[outcome[ended] != RUNNING]
        finals = self.episodes.finish(finished, outcome[finished]) if len(finished) else {}
        if not self._same_step:
            self._ended[ended] = True
            stacks.park(ended)
            return self._gather(infos, finished, finals)
        self._gather(infos, ended, {"final_obs": list(observations[ended])})
        infos["final_info"], infos["_final_info"] = self._gather({}, finished, finals), infos["_final_obs"].copy()
        self._start(infos, ended)
        observations[ended] = stacks.tokens[stacks.top[ended]]
        return infos

    def _start(self, infos: dict[str, Any], rows: Ints, options: dict[str, Any] | None = None) -> dict[str, Any]:
        if not len(rows):
            return infos
        self._steps[rows], self._ended[rows] = 0, False
        generators = [self.generators[row] for row in rows.tolist()]
        return self._gather(infos, rows, self.episodes.start(rows, generators, options))

    def _gather(self, infos: dict[str, Any], rows: Ints, columns: dict[str, list[Any]]) -> dict[str, Any]:
        """Adds the infos of some environments, which are columns.

        ``VectorEnv._add_info`` adds one environment after the other and took most of the time of a step.
        """
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[rows] = True
        places = rows.tolist()
        for key, column in columns.items():
            if key not in infos:
                kind = type(column[0])
                plain = kind in (int, float, bool)
                infos[key] = np.zeros(self.num_envs, kind) if plain else np.empty(self.num_envs, object)  # of None
                infos[f"_{key}"] = np.zeros(self.num_envs, dtype=bool)
            infos[f"_{key}"] |= mask
            array = infos[key]
            if array.dtype == object:
                for place, value in zip(places, column, strict=True):
                    array[place] = value
            else:
                array[rows] = column
        return infos

    def _observe(self) -> Array:
        return self.episodes.stacks.observe().astype(self.single_observation_space.dtype, copy=False)
