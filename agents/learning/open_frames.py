"""Frames that are open: the rows of a rollout put together again, each frame judged when it ends.

Stable-Baselines3 collects one row a step, for every environment the frame on top of its call stack. What the call
stacks have done in between follows from the actions, so nothing but the rows is needed.

Shapes: N environments, D frames deep, L tokens long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.agents.learning.credit import Credit, judge
from o1nano.agents.learning.packing import ClosedFrame, Floats
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import CALL, END_CALL, EOS, EQUALS, PAD, SUBTASK
from o1nano.envs.problems.problem import is_sensible

# What is known of the frames of an environment, and of an environment.
_OF_FRAMES = ("_tokens", "_value", "_log_prob", "_reward", "_time", "_acted", "_misled")
_OF_ENVS = ("_depth", "_episode", "_last_action")


class OpenFrames:
    """The call stacks of N environments, with one value and one log-probability for every action in them.

    Args:
        shape: N, D and L.
        credit: See ``FrameRolloutBuffer``.
        calls: Whether calls open frames: see ``Grammar``.
    """

    def __init__(self, shape: tuple[int, int, int], credit: Credit, calls: bool = True) -> None:
        n_envs = shape[0]
        self.credit, self._moves = credit, [EOS, EQUALS, *([END_CALL] if calls else [])]
        self._tokens = np.zeros(shape, dtype=np.uint8)
        self._value, self._log_prob, self._reward = np.zeros((3, *shape), dtype=np.float32)
        self._time = np.zeros(shape, dtype=np.int64)
        self._acted = np.zeros(shape, dtype=bool)
        self._misled = np.zeros(shape[:2], dtype=bool)
        self._depth = np.full(n_envs, -1)  # -1: no episode has begun
        self._episode = np.arange(n_envs)
        self._last_action = np.full(n_envs, PAD)
        self._rows = np.arange(n_envs)
        self._clock = 0
        self._unfinished: list[ClosedFrame] = []  # credit="episode": ended frames of running episodes
        self._ended: list[ClosedFrame] = []

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that is known, as plain containers and arrays."""
        is_open = np.arange(self._tokens.shape[1]) <= self._depth[:, None]  # [N, D]
        return {
            **{name: getattr(self, name)[is_open] for name in _OF_FRAMES},
            **{name: getattr(self, name).copy() for name in _OF_ENVS},
            "clock": self._clock,
            "unfinished": [[getattr(frame, field.name) for field in fields(frame)] for frame in self._unfinished],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of as many call stacks returned."""
        for name in _OF_ENVS:
            getattr(self, name)[...] = state[name]
        is_open = np.arange(self._tokens.shape[1]) <= self._depth[:, None]
        for name in _OF_FRAMES:
            getattr(self, name)[is_open] = state[name]
        self._clock = state["clock"]
        self._unfinished = []
        for parts in state["unfinished"]:
            restored: list[Any] = [part if isinstance(part, int) else np.asarray(part) for part in parts]
            self._unfinished.append(ClosedFrame(*restored))

    def add(
        self,
        frames: npt.NDArray[np.uint8],
        actions: npt.NDArray[np.int64],
        rewards: Floats,
        episode_start: npt.NDArray[np.bool_],
        values: Floats,
        log_probs: Floats,
    ) -> list[ClosedFrame]:
        """Adds one step of every environment: ``[N, L]`` frames, everything else ``[N]``.

        Returns:
            The frames to learn from that have turned out to have ended with the step before.
        """
        self._ended = []
        self._follow(frames, episode_start)
        rows, depth = self._rows, self._depth
        at = (frames != PAD).sum(1) - 1
        self._tokens[rows, depth] = frames
        self._value[rows, depth, at] = values
        self._log_prob[rows, depth, at] = log_probs
        self._reward[rows, depth, at] = rewards
        self._time[rows, depth, at] = self._clock
        self._acted[rows, depth, at] = True
        self._last_action = actions
        self._clock += 1
        return self._ended

    def _follow(self, frames: npt.NDArray[np.uint8], episode_start: npt.NDArray[np.bool_]) -> None:
        """Works out from the last actions and the new frames what the call stacks have done."""
        for env in np.flatnonzero(episode_start | np.isin(self._last_action, self._moves)):
            action = self._last_action[env]
            if episode_start[env]:
                self._end_episode(int(env))
                self._depth[env] = 0
                self._open(int(env))
            elif action == END_CALL:
                self._depth[env] += 1
                if self._depth[env] == self._tokens.shape[1]:
                    raise ConfigurationError(
                        f"more than depth={self._depth[env]} open frames; accepted: the depth of the environment"
                    )
                self._open(int(env))
            else:
                self._close(int(env))
                if action == EOS:
                    self._depth[env] -= 1
                else:  # a tail call: another frame at the same depth, which the same caller waits for
                    self._open(int(env))

    def _open(self, env: int) -> None:
        self._acted[env, self._depth[env]] = False
        self._reward[env, self._depth[env]] = 0.0
        self._misled[env, self._depth[env]] = False

    def _end_episode(self, env: int) -> None:
        if self._depth[env] < 0:
            return
        self._close(env)
        if self.credit == "blame":  # a limit has ended the episode: of those who wait, these are at fault
            waiting = range(self._depth[env])
            self._ended += [self._take(env, depth) for depth in waiting if not self._asked_sensibly(env, depth)]
        if self.credit == "episode":
            mine = [frame for frame in self._unfinished if frame.episode == self._episode[env]]
            mine += [self._take(env, depth) for depth in range(self._depth[env])]
            self._unfinished = [frame for frame in self._unfinished if frame.episode != self._episode[env]]
            self._ended += mine
        self._episode[env] += len(self._rows)

    def _close(self, env: int) -> None:
        """Judges the frame on top, and hands it on if it is to be learned from."""
        depth = int(self._depth[env])
        frame = self._take(env, depth)
        if self.credit == "episode":
            self._unfinished.append(frame)
            return
        verdict = "right"
        if frame.tokens[0] == SUBTASK:
            verdict = judge(frame.tokens.tobytes())
            frame.rewards[-1] += verdict == "right"
            # A tail call that preserves the answer passes the caller's trust on; a wrong answer breaks it. It excuses
            # nobody from having asked what it has no use for: strange questions would cost nothing.
            if verdict == "wrong" and depth and self._asked_sensibly(env, depth - 1):
                self._misled[env, depth - 1] = True
        misled = self._misled[env, depth] and self.credit == "blame"
        if verdict != "malformed" and not misled:
            self._ended.append(frame)

    def _asked_sensibly(self, env: int, depth: int) -> bool:
        """Whether the frame at a depth, which waits, has a use for what it asked."""
        asker = self._tokens[env, depth].tobytes().rstrip(b"\0")
        # Its own words: the frame above may have handed the question on by tail calls, and show another one.
        question = bytes([SUBTASK, *asker[asker.rindex(CALL) + 1 :], EQUALS])
        return is_sensible(asker[: asker.index(EQUALS) + 1], question)

    def _take(self, env: int, depth: int) -> ClosedFrame:
        positions = np.flatnonzero(self._acted[env, depth])
        length = positions[-1] + 1
        tokens = np.append(self._tokens[env, depth, :length], np.uint8(0))
        last = int(depth == self._depth[env])
        tokens[-1] = self._last_action[env] if last else END_CALL  # a suspended frame was left by its call
        return ClosedFrame(
            tokens,
            positions,
            self._value[env, depth, positions],
            self._log_prob[env, depth, positions],
            self._reward[env, depth, positions],
            self._time[env, depth, positions],
            int(self._episode[env]),
        )
