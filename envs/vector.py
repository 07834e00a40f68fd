"""The native vector environment: N call stacks, one array operation a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from o1nano.envs.arithmetic import ArithmeticEnv, observation_space
from o1nano.envs.core.actions import check_actions
from o1nano.envs.core.call_stack import RUNNING, Ints
from o1nano.envs.core.config import EnvConfig, require_whole
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.errors import ActionError, ConfigurationError, RenderModeError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.render import draw

Array = npt.NDArray[Any]


class ArithmeticVectorEnv(VectorEnv[Array, Array, Array]):
    """N environments of ``ArithmeticEnv`` on one transition function; the same seeds give the same episodes.

    Args:
        num_envs: N.
        max_episode_steps: Number of steps after which an episode is truncated; None or -1 for no limit.
        autoreset_mode: ``"NextStep"``, ``"SameStep"`` or ``"Disabled"``, or the ``AutoresetMode``. With ``"Disabled"``,
            episodes that have ended must be reset by ``reset(options={"reset_mask": mask})`` before the next step.
        obs_dtype: ``"float32"``, ``"uint8"``, ``"int16"`` or ``"int64"``.
        render_mode: None, ``"ansi"`` (text) or ``"rgb_array"`` (a picture of each environment).
        group_size: Number of consecutive episodes, in whichever environments they begin, that get the same problem (the
            GRPO group size). The first of them draws it, so the problems of an environment depend on other seeds than
            its own, too. An explicit reset begins a new group.
        **config: Fields of ``EnvConfig``: the arguments of ``ArithmeticEnv``.

    Attributes:
        autoreset_mode: The ``AutoresetMode``.
        generators: The random generator of each environment.

    Raises:
        ConfigurationError: If there is no such argument, or a value makes no sense.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": ArithmeticEnv.metadata["render_fps"],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        obs_dtype: str = "float32",
        render_mode: str | None = None,
        group_size: int = 1,
        **config: Any,
    ) -> None:
        self.num_envs = require_whole("num_envs", num_envs, 1)
        if max_episode_steps in (None, -1):
            self.max_episode_steps = None
        else:
            self.max_episode_steps = require_whole("max_episode_steps", max_episode_steps, 1)
        self.autoreset_mode = _read_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise RenderModeError(f"render_mode={render_mode!r}; expected None, 'ansi' or 'rgb_array'")
        self.render_mode = render_mode

        self.config = EnvConfig.of(type(self), config)
        self.episodes = Episodes(num_envs, self.config, require_whole("group_size", group_size, 1))
        self.single_observation_space = observation_space(self.config, obs_dtype)
        self.single_action_space = spaces.Discrete(VOCAB_SIZE)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        seeded = [seeding.np_random() for _ in range(num_envs)]
        self.generators: list[np.random.Generator] = [generator for generator, _ in seeded]
        self._seeds = [seed for _, seed in seeded]
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._masks: dict[str, Array] = {}  # the masks of infos that every environment has

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Poses new problems. If it raises, nothing has changed.

        Args:
            seed: A seed s gives environment i the generator of seed s + i, as Gymnasium's vectors do. A sequence has
                one seed for each. None continues the current random streams.
            options: ``{"reset_mask": mask}`` with ``[N]`` booleans resets some environments only.
                ``{"problem": text}`` and ``{"level": level}`` choose the problem, as in ``ArithmeticEnv``.

        Returns:
            The observations, and the infos of those that were reset.

        Raises:
            ConfigurationError: If an option is not one of these, or a problem is too long for the frame.
            ProblemError: If the text is not a problem, or cannot be posed here.
        """
        # Everything that can be refused comes first.
        seeds = self._read_seeds(seed)
        options = dict(options or {})
        rows = self._read_mask(options.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))

        # Copies draw, so that a refused reset leaves the generators as they were.
        generators: list[np.random.Generator] = []
        for row in rows.tolist():
            own = seeds[row]
            if own is None:
                generators.append(deepcopy(self.generators[row]))
            else:
                generators.append(seeding.np_random(own)[0])
        problems = self.episodes.choose(generators, options, new_group=True)

        # Nothing can be refused from here on.
        for row, generator in zip(rows.tolist(), generators, strict=True):
            own = seeds[row]
            self.generators[row] = generator
            if own is not None:
                self._seeds[row] = own

        self.episodes.begin(rows, problems)
        self._steps[rows] = 0
        if len(rows) == self.num_envs:
            return self._observe(), self._infos()
        return self._observe(), self._infos_of(rows)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Emits one token in every environment.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N, L]`` observations, ``[N]`` rewards, terminations and truncations, and the infos: at every step the
            keys of ``ArithmeticEnv``, ``[N]`` each. With ``"SameStep"``, the infos of the episodes that have ended are
            in ``infos["final_info"]`` and their last observations in ``infos["final_obs"]``.

        Raises:
            ActionError: If an action is not a token id, if an environment was never reset, or if an episode has ended
                and must be reset first.
        """
        actions = check_actions(actions, (self.num_envs,), VOCAB_SIZE)
        episodes = self.episodes

        # Episodes that have ended: under NEXT_STEP this step is their reset, and their action is ignored.
        resting = episodes.over.nonzero()[0]
        if len(resting):
            self._rest(resting)

        reward, outcome = episodes.step(actions)
        self._steps += 1
        if len(resting):
            reward[resting] = 0.0
            outcome[resting] = RUNNING
            self._start(resting)

        terminated = outcome != RUNNING
        truncated = self._truncated(terminated)
        ended = (terminated | truncated).nonzero()[0]
        if len(ended):
            episodes.finish(ended, outcome[ended])

        # SAME_STEP: the last observations and infos go into the infos, and new episodes begin.
        finals: dict[str, Any] = {}
        if len(ended) and self.autoreset_mode == AutoresetMode.SAME_STEP:
            finals = self._finals(ended)
            self._start(ended)

        return self._observe(), reward, terminated, truncated, {**self._infos(), **finals}

    def render(self) -> tuple[Any, ...]:
        """Returns for each environment its stack of frames: text in ``ansi`` mode, pixels in ``rgb_array`` mode."""
        stacks = self.episodes.stacks
        return tuple(draw(stacks.open_frames(row), self.render_mode) for row in range(self.num_envs))

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, V]``: which tokens are legal next; all of them where the next step is a reset."""
        return self.episodes.masks()

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each environment."""
        return tuple(self.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed that each environment was given last."""
        return tuple(self._seeds)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method once for all environments, or returns an attribute, as Gymnasium's vectors do.

        Args:
            name: A method such as ``"action_masks"`` or ``"render"``, or an attribute.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            One result for each environment: its row if the result has N rows, otherwise the same result for all.
        """
        found = getattr(self, name)
        # The environments are not objects of their own, so a method is called once for all.
        if not callable(found):
            return self.get_attr(name)

        result = found(*args, **kwargs)
        if isinstance(result, (tuple, list, np.ndarray)) and len(result) == self.num_envs:
            return tuple(result)
        return (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute of each environment.

        Args:
            name: The attribute. For spaces, those of one environment are returned.
        """
        if name in ("np_random", "np_random_seed"):
            return tuple(getattr(self, name))
        if name in ("action_space", "observation_space"):
            name = f"single_{name}"
        return (getattr(self, name),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute, which all environments share.

        Args:
            name: The attribute.
            values: Its value, or a list or tuple with the same one for each environment.

        Raises:
            ConfigurationError: If there are not N values, or they differ.
        """
        # One value for all, or one for each, which must be the same.
        if not isinstance(values, (list, tuple)):
            values = [values] * self.num_envs

        if len(values) != self.num_envs:
            raise ConfigurationError(f"{len(values)} values of {name}; expected one for each of {self.num_envs}")
        if any(value is not values[0] and value != values[0] for value in values):
            raise ConfigurationError(f"{name}={values}; expected the same for every environment, which share it")
        setattr(self, name, values[0])

    def state_dict(self) -> dict[str, Any]:
        """Returns the running episodes and the random states as plain containers and arrays."""
        return {
            "episodes": self.episodes.state_dict(),
            "generators": [generator.bit_generator.state for generator in self.generators],
            "steps": self._steps.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` returned for N environments with the same arguments.
        """
        self.episodes.load_state_dict(state["episodes"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        self._steps[...] = state["steps"]

    def _read_seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        """Returns the seed of each environment, or None where it keeps its generator."""
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ConfigurationError(f"{len(seed)} seeds; expected one for each of {self.num_envs} environments")
        return seed

    def _read_mask(self, given: Any) -> Ints:
        """Returns the indices of the environments to reset."""
        mask = np.asarray(given)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ConfigurationError(
                f"reset_mask={given}; expected {self.num_envs} booleans, at least one of them True"
            )
        return mask.nonzero()[0]

    def _rest(self, rows: Ints) -> None:
        """Lets episodes that are over ignore the next action.

        Raises:
            ActionError: If there will be no automatic reset.
        """
        # Before the first reset all rows are over, too.
        unposed = [row for row in rows.tolist() if self.episodes.problems[row] is None]
        if unposed:
            raise ActionError(f"a step before the first reset of environment {unposed[0]}; expected reset() first")

        if self.autoreset_mode == AutoresetMode.DISABLED:
            raise ActionError(f"the episode of environment {rows[0]} has ended; expected a reset_mask with it first")
        self.episodes.stacks.close(rows)

    def _truncated(self, terminated: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Returns ``[N]``: which episodes the limit on steps has cut."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, dtype=bool)

        # An episode that terminates in its last allowed step is not truncated.
        is_late: npt.NDArray[np.bool_] = self._steps >= self.max_episode_steps
        return ~terminated & is_late

    def _start(self, rows: Ints) -> None:
        """Begins the next episodes of some environments."""
        self.episodes.start(rows, [self.generators[row] for row in rows.tolist()])
        self._steps[rows] = 0

    def _infos(self) -> dict[str, Any]:
        """Returns the infos of all environments.

        ``VectorEnv._add_info`` adds one environment after the other, which would take most of the time of a step.
        """
        columns = self.episodes.columns()
        if len(self._masks) != len(columns):  # a term of the reward was added
            everywhere = np.ones(self.num_envs, dtype=bool)
            everywhere.flags.writeable = False  # shared by all keys of all steps
            self._masks = {f"_{key}": everywhere for key in columns}
        return {**columns, **self._masks}

    def _infos_of(self, rows: Ints) -> dict[str, Any]:
        """Returns the infos of some environments. For the others they are 0, False or None."""
        # As in Gymnasium's vectors, the mask of a key has an underscore and is True for the rows that have the key.
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[rows] = True
        infos: dict[str, Any] = {}
        for key, column in self.episodes.columns().items():
            infos[key] = np.empty(self.num_envs, object) if column.dtype == object else np.zeros_like(column)
            infos[key][rows] = column[rows]
            infos[f"_{key}"] = mask
        return infos

    def _finals(self, ended: Ints) -> dict[str, Any]:
        """Returns the infos that SAME_STEP adds when episodes have ended."""
        # As in Gymnasium's vectors, an array of objects: an observation for each row that has ended, None for others.
        stacks = self.episodes.stacks
        last = np.empty(self.num_envs, dtype=object)
        for row in ended.tolist():
            last[row] = stacks.tokens[stacks.top[row]].astype(self.single_observation_space.dtype)

        final = self._infos_of(ended)
        mask = final["_is_success"]
        return {"final_obs": last, "_final_obs": mask, "final_info": final, "_final_info": mask.copy()}

    def _observe(self) -> Array:
        """Returns ``[N, L]`` observations."""
        return self.episodes.stacks.observe().astype(self.single_observation_space.dtype, copy=False)


def _read_mode(value: AutoresetMode | str) -> AutoresetMode:
    """Returns an autoreset mode from itself or its value."""
    for mode in AutoresetMode:
        if value in (mode, mode.value):
            return mode
    expected = ", ".join(repr(mode.value) for mode in AutoresetMode)
    raise ConfigurationError(f"autoreset_mode={value!r}; expected one of {expected}")
