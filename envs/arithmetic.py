"""The single environment: one call stack with Gymnasium's interface."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.utils import seeding

from o1nano.envs.core.actions import check_actions
from o1nano.envs.core.call_stack import RUNNING
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.errors import ActionError, ConfigurationError, RenderModeError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.render import Window, draw

OBSERVATION_DTYPES = ("float32", "uint8", "int16", "int64")


def observation_space(config: EnvConfig, dtype: str) -> spaces.Box:
    """Returns the space of one observation, ``[frame_length]`` token ids.

    Args:
        config: The configuration, which says how long a frame is.
        dtype: One of ``OBSERVATION_DTYPES``.

    Raises:
        ConfigurationError: If it is another type.
    """
    if dtype not in OBSERVATION_DTYPES:
        raise ConfigurationError(f"obs_dtype={dtype!r}; expected one of {', '.join(OBSERVATION_DTYPES)}")
    return spaces.Box(0, VOCAB_SIZE - 1, (config.frame_length,), np.dtype(dtype).type)


class ArithmeticEnv(gym.Env[npt.NDArray[Any], np.int64]):
    """Solve arithmetic by emitting tokens, one per step.

    ## Description
    An episode is one problem, asked in symbols or in words. The agent reads the *frame* that it is in (the prompt and
    what has been written since) and emits the next token. Between ``<think>`` and ``</think>`` it reasons, hidden from
    the user. Then it writes the visible answer and ``<eos>``. ``<call> 8 9 + 5 4 </call>`` opens a *child frame* whose
    prompt is ``<subtask> 8 9 + 5 4 =`` (numbers least significant digit first). When the child answers, its frame and
    all its thinking are discarded, and only the answer is injected after ``</call>``. ``<goto> expr =`` replaces a
    child frame with ``<subtask> expr =``. The environment never computes for the agent: it only pushes, pops and
    injects.

    ## Action Space
    ``Discrete(147)``: the next token (``o1nano.envs.language.vocab.TOKENS``). ``action_masks()`` returns which tokens
    are legal. An illegal token ends the episode. Before the first reset and after the end, when actions have no effect,
    all tokens are legal.

    ## Observation Space
    ``Box(0, 146, (frame_length,))``: the token ids of the top frame, padded with 0. The default dtype is ``float32``,
    because every library accepts it. ``obs_dtype`` selects a smaller one.

    ## Rewards
    1 when the root frame returns and its visible answer is exactly right, otherwise 0. Reward shaping, token prices and
    partial credit are wrappers (``o1nano.envs.wrappers.RewardWrapper``) and are logged separately.

    ## Starting State
    ``<problem> ... =`` of a problem drawn from the split. ``reset(options={"problem": "12*34"})`` poses a given
    problem. ``options={"level": "addition/3"}``, or a ``Level``, draws a problem of that level.

    ## Episode End
    The episode terminates when the root answers, on an illegal token, when a frame is full, too deep or calls itself,
    and when ``max_tokens`` are spent. The environment never truncates; only a ``TimeLimit`` wrapper does.

    ## Info
    The keys are the same after every reset and every step:

    * ``is_success``: True on the step that returns the exact visible answer, otherwise False.
    * ``outcome``: how the episode ended: ``"answered"``, ``"illegal_token"``, ``"frame_full"``, ``"too_deep"``,
      ``"self_call"`` or ``"out_of_tokens"``. Until the environment ends the episode it is ``"truncated"``, so an
      episode cut off by a ``TimeLimit`` has the right outcome.
    * ``problem`` and ``level``: the problem, and its level or ``"posed"`` for a given problem.
    * ``expected`` and ``answer``: the right answer and the visible one; empty before the end.
    * ``reasoning_tokens``, ``completion_tokens``, ``subtask_tokens``, ``subtasks``, ``revisions``, ``depth``,
      ``longest_context``: the usage so far (``o1nano.envs.core.usage.Usage``).

    ## Arguments
    * ``render_mode``: ``"ansi"`` (text), ``"human"`` (live in the terminal) or ``"rgb_array"`` (pixels, for
      ``RecordVideo``).
    * ``obs_dtype``: ``"float32"``, ``"uint8"``, ``"int16"`` or ``"int64"``.
    * ``operations``: families of problems, drawn uniformly (``o1nano.envs.problems.FAMILIES``).
    * Parameters of the problems, each a single value or a pair (smallest, largest): ``digits`` of the longer operand (1
      to 3 by default) and ``second_digits`` of the second one; ``operands`` of ``expression`` and ``chain``;
      ``numbers`` of ``list_sum``, ``maximum`` and ``countdown``; ``number_digits`` of ``countdown``; ``tokens`` of
      ``recall`` and ``ledger``. See ``EnvConfig``.
    * ``phrasing``: ``"symbolic"``, ``"words"``, ``"mixed"`` (the default) or ``"everyday"``.
    * ``thinking``, ``call_stack``: whether hidden reasoning is legal, and whether calls open frames of their own.
    * ``frame_length``, ``depth``, ``max_tokens``: limits on the tokens in a frame, on open frames, and on all tokens
      for one problem. Problems of ``recall`` and ``ledger`` fill their frame, so ``frame_length=128_000`` is a context
      of that length (``tokens`` poses shorter ones).
    * ``split``: ``"train"``, ``"test"`` or ``"all"``, by a hash of the problem's content.

    The registered ids differ only in these arguments (``o1nano.envs.registration.IDS``).

    ## Version History
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, obs_dtype: str = "float32", **config: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise RenderModeError(f"render_mode={render_mode!r}; expected None, 'ansi', 'human' or 'rgb_array'")
        self.config = EnvConfig.of(type(self), config)
        self.episodes = Episodes(1, self.config)
        self.render_mode = render_mode
        self._window = Window()
        self.observation_space = observation_space(self.config, obs_dtype)
        self.action_space = spaces.Discrete(VOCAB_SIZE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Poses a new problem. If it raises, nothing has changed.

        Args:
            seed: Begins a new random stream; None continues the current one.
            options: ``{"problem": text}`` poses a given problem, ``{"level": level}`` draws one of a level. None draws
                from the configured levels.

        Returns:
            The first observation, ``[frame_length]`` token ids, and the info, with the keys listed for the class.

        Raises:
            ConfigurationError: If an option is not one of these, or the problem is too long for the frame.
            ProblemError: If the text is not a problem, or cannot be posed here.
        """
        # A copy draws, so that a refused reset leaves the generator as it was.
        generator = deepcopy(self.np_random) if seed is None else seeding.np_random(seed)[0]
        problems = self.episodes.choose([generator], options)

        # Nothing can be refused from here on.
        super().reset(seed=seed)
        self.np_random.bit_generator.state = generator.bit_generator.state
        self.episodes.begin([0], problems)
        self._show()
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Emits one token. After the end of an episode it does nothing and returns the last step with reward 0.

        Args:
            action: A token id.

        Returns:
            The observation, the reward, whether the episode has terminated, False (the environment never truncates),
            and the info, with the keys listed for the class.

        Raises:
            ActionError: If the action is not a token id, or before the first reset.
        """
        # One environment is a vector of one: the same transition function, on arrays of length 1.
        token = check_actions(action, (), VOCAB_SIZE)
        episodes = self.episodes

        # Gymnasium leaves a step after the end undefined. Here it changes nothing.
        if episodes.over[0]:
            if episodes.problems[0] is None:
                raise ActionError("a step before the first reset; expected reset() first")
            return self._observe(), 0.0, True, False, self._info()

        reward, outcome = episodes.step(token[np.newaxis])
        terminated = bool(outcome[0] != RUNNING)
        if terminated:
            episodes.finish([0], outcome)
        self._show()
        return self._observe(), float(reward[0]), terminated, False, self._info()

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[V]``: which tokens are legal next; all of them before the first reset and after the end."""
        mask: npt.NDArray[np.bool_] = self.episodes.masks()[0]
        return mask

    def render(self) -> Any:
        """Returns the stack of frames: text in ``ansi`` mode, ``[H, W, 3]`` pixels in ``rgb_array`` mode."""
        return draw(self.episodes.stacks.open_frames(0), self.render_mode)

    def close(self) -> None:
        """Closes the live display of ``human`` mode."""
        self._window.close()

    def _show(self) -> None:
        """Redraws the live display of ``human`` mode."""
        # Gymnasium expects "human" mode to draw in reset() and step(), without a call of render().
        if self.render_mode == "human":
            self._window.show(self.episodes.stacks.open_frames(0))

    def _observe(self) -> npt.NDArray[Any]:
        """Returns the observation, ``[frame_length]``."""
        observation: npt.NDArray[Any] = self.episodes.stacks.observe()[0].astype(self.observation_space.dtype)
        return observation

    def _info(self) -> dict[str, Any]:
        """Returns the info, as plain Python values."""
        # .item() turns NumPy's numbers into Python's, which JSON and loggers accept.
        columns = self.episodes.columns()
        return {name: column.item(0) for name, column in columns.items()}
