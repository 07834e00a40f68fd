"""The single environment: one call stack behind Gymnasium's interface."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from o1nano.envs.core.call_stack import RUNNING
from o1nano.envs.core.episodes import EnvConfig, Episodes
from o1nano.envs.errors import ConfigurationError, RenderModeError
from o1nano.envs.language.vocab import VOCAB_SIZE
from o1nano.envs.render import Window, draw_picture, draw_stack

OBSERVATION_DTYPES = ("float32", "uint8", "int16", "int64")


def observation_space(config: EnvConfig, dtype: str) -> spaces.Box:
    """Returns the space of one observation, ``[frame_length]`` token ids."""
    if dtype not in OBSERVATION_DTYPES:
        raise ConfigurationError(f"obs_dtype={dtype!r}; accepted: {', '.join(OBSERVATION_DTYPES)}")
    return spaces.Box(0, VOCAB_SIZE - 1, (config.frame_length,), np.dtype(dtype).type)


class ArithmeticEnv(gym.Env[npt.NDArray[Any], np.int64]):
    """Solve arithmetic by emitting tokens, one a step.

    ## Description
    An episode is one problem, asked in symbols or in words. The agent reads the *frame* it is in (a prompt and what has
    been written since) and emits the next token. Between ``<think>`` and ``</think>`` it reasons, hidden; then it
    writes the visible answer and ``<eos>``. ``<call> 8 9 + 5 4 </call>`` opens a *child frame* whose prompt is
    ``<subtask> 8 9 + 5 4 =`` (numbers least significant digit first). When the child answers, its frame is discarded
    with all its thinking and only the answer is injected after ``</call>``. ``<goto> expr =`` replaces a child frame by
    ``<subtask> expr =``. The environment never computes for the agent: it pushes, pops and injects.

    ## Action Space
    ``Discrete(101)``: the next token (``o1nano.envs.language.vocab.TOKENS``). ``action_masks()`` tells which tokens
    are legal; an illegal one ends the episode.

    ## Observation Space
    ``Box(0, 100, (frame_length,))``: the token ids of the top frame, padded with 0. ``float32`` by default, because
    every library accepts it; ``obs_dtype`` selects a compact form.

    ## Rewards
    1 when the root frame returns and its visible answer is exactly right, otherwise 0. Shaping, prices and partial
    credit are wrappers (``o1nano.envs.wrappers.RewardWrapper``), logged apart.

    ## Starting State
    ``<problem> ... =`` of a problem drawn from the split, or the one given: ``reset(options={"problem": "12*34"})``;
    ``options={"level": "addition/3"}``, or a ``Level``, draws one of a level.

    ## Episode End
    Terminates when the root answers, on an illegal token, when a frame is full, too deep or calls itself, and when
    ``max_tokens`` are spent (``info["outcome"]`` says which). It truncates only under a ``TimeLimit``. The terminal
    ``info`` has ``is_success``, the problem, both answers, and the usage: tokens by channel, subtasks, depth, longest
    context, revisions.

    ## Arguments
    * ``render_mode``: ``"ansi"`` (text), ``"human"`` (live in the terminal) or ``"rgb_array"`` (a picture, for
      ``RecordVideo``).
    * ``obs_dtype``: ``"float32"``, ``"uint8"``, ``"int16"`` or ``"int64"``.
    * ``operations``: families of problems, drawn uniformly (``o1nano.envs.problems.FAMILIES``).
    * ``digits``: one size, or the smallest and the largest; ``other_digits``: of the second operand.
    * ``phrasing``: ``"symbolic"``, ``"words"`` or ``"mixed"``.
    * ``thinking``, ``call_stack``: whether hidden reasoning is legal, and whether calls open frames of their own.
    * ``frame_length``, ``depth``, ``max_tokens``: tokens of a frame, open frames, tokens of an answer. Problems of
      ``recall`` and ``ledger`` fill their frame: ``frame_length=128_000`` is a context of that length
      (``other_digits`` poses shorter ones).
    * ``split``: ``"train"``, ``"test"`` or ``"all"``, by a hash of the problem's content.

    The registered ids differ in these arguments only (``o1nano.envs.registration.IDS``).

    ## Version History
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, obs_dtype: str = "float32", **config: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise RenderModeError(f"render_mode={render_mode!r}; accepted: None, 'ansi', 'human', 'rgb_array'")
        self.config = EnvConfig(**config)
        self.episodes = Episodes(1, self.config)
        self.render_mode = render_mode
        self._window = Window()
        self.observation_space = observation_space(self.config, obs_dtype)
        self.action_space = spaces.Discrete(VOCAB_SIZE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Poses a new problem; see the class for ``options``."""
        super().reset(seed=seed)
        info = self.episodes.start([0], [self.np_random], options)
        self._show()
        return self._observe(), _only(info)

    def step(self, action: np.int64) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Emits one token."""
        reward, outcome = self.episodes.step(np.array([action]))
        terminated = bool(outcome[0] != RUNNING)
        info = _only(self.episodes.finish([0], outcome)) if terminated else {}
        self._show()
        return self._observe(), float(reward[0]), terminated, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns ``[V]``: which tokens are legal next."""
        mask: npt.NDArray[np.bool_] = self.episodes.stacks.masks()[0]
        return mask

    def render(self) -> Any:
        """Returns the stack of frames: text in ``ansi`` mode, ``[H, W, 3]`` pixels in ``rgb_array`` mode."""
        frames = self.episodes.stacks.open_frames(0)
        if self.render_mode == "ansi":
            return draw_stack(frames)
        return draw_picture(frames) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Ends the live display of ``human`` mode."""
        self._window.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window.show(self.episodes.stacks.open_frames(0))

    def _observe(self) -> npt.NDArray[Any]:
        observation: npt.NDArray[Any] = self.episodes.stacks.observe()[0].astype(self.observation_space.dtype)
        return observation


def _only(columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: column[0] for name, column in columns.items()}
