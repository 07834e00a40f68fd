"""Open frames: the rows of a rollout put together again, each frame judged when it ends.

At every step Stable-Baselines3 collects one row for each environment, the frame on top of its call stack. What a step
did to the stack follows from two successive rows and the action between them (``frame_changes``), so rows are all that
is needed.

Shapes: N environments, D frames deep, L tokens long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from o1nano.agents.learning.credit import Credit, Verdict, frame_verdict
from o1nano.agents.learning.packing import Floats, TrainingFrame
from o1nano.envs.core.frame_changes import CONTINUED, OPENED, REPLACED, RETURNED, STARTED, frame_changes
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import CALL, END_CALL, EQUALS, PAD, SUBTASK
from o1nano.envs.problems.verifier import is_useful_subtask

# The arrays with an entry for each frame of each environment, and those with one for each environment.
_FRAME_ARRAYS = ("_tokens", "_value", "_log_prob", "_reward", "_time", "_acted", "_misled")
_ENV_ARRAYS = ("_depth", "_episode", "_last_action")


class OpenFrames:
    """The call stacks of N environments, with one value and one log-probability for every action in them.

    Args:
        shape: N, D and L.
        credit: How a frame is rewarded, as in ``FrameRolloutBuffer``.
    """

    def __init__(self, shape: tuple[int, int, int], credit: Credit) -> None:
        n_envs, depth, _ = shape
        self.credit = credit

        # Of each frame on each stack: its tokens, and at the position before each action what belongs to the action.
        self._tokens = np.zeros(shape, dtype=np.uint8)
        self._value = np.zeros(shape, dtype=np.float32)
        self._log_prob = np.zeros(shape, dtype=np.float32)
        self._reward = np.zeros(shape, dtype=np.float32)
        self._time = np.zeros(shape, dtype=np.int64)
        self._acted = np.zeros(shape, dtype=bool)
        self._misled = np.zeros((n_envs, depth), dtype=bool)

        # Of each environment: the index of its top frame (-1 before the first episode), the number of its episode.
        self._depth = np.full(n_envs, -1)
        self._episode = np.arange(n_envs)
        self._last_action = np.full(n_envs, PAD)
        self._rows = np.arange(n_envs)

        self._clock = 0
        self._waiting: list[TrainingFrame] = []  # credit="episode": ended frames of episodes that still run
        self._ended: list[TrainingFrame] = []

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that is known, as plain containers and arrays."""
        is_open = self._is_open()
        state: dict[str, Any] = {name: getattr(self, name)[is_open] for name in _FRAME_ARRAYS}
        for name in _ENV_ARRAYS:
            state[name] = getattr(self, name).copy()
        state["clock"] = self._clock
        state["waiting"] = list(map(asdict, self._waiting))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` of the same number of call stacks returned.
        """
        for name in _ENV_ARRAYS:
            getattr(self, name)[...] = state[name]
        is_open = self._is_open()
        for name in _FRAME_ARRAYS:
            getattr(self, name)[is_open] = state[name]
        self._clock = state["clock"]
        self._waiting = list(map(_restored_frame, state["waiting"]))

    def drop(self) -> None:
        """Drops every open frame: a reset from outside has cut their episodes off, so they never end.

        Frames of these episodes that have ended, but wait for the end of the episode, are dropped too.
        """
        has_begun = self._depth >= 0
        self._episode[has_begun] += len(self._rows)  # the next episodes have other serial numbers
        self._depth[:] = -1
        self._waiting = []

    def add(
        self,
        frames: npt.NDArray[np.uint8],
        actions: npt.NDArray[np.int64],
        rewards: Floats,
        episode_start: npt.NDArray[np.bool_],
        values: Floats,
        log_probs: Floats,
    ) -> list[TrainingFrame]:
        """Adds one step of every environment.

        Args:
            frames: ``[N, L]`` observations: the top frames before the step.
            actions: ``[N]`` tokens that were emitted.
            rewards: ``[N]`` rewards of the step.
            episode_start: ``[N]`` whether the observation is the first one of an episode.
            values: ``[N]`` the critic's values of the observations.
            log_probs: ``[N]`` log-probabilities of the actions.

        Returns:
            The frames to learn from that the previous step has ended, which only shows now.
        """
        self._ended = []

        # What the previous actions did to the stacks shows in the observations that followed them.
        rows = self._rows
        changes = frame_changes(self._tokens[rows, self._depth], self._last_action, frames)
        changes[episode_start] = STARTED
        for env in np.flatnonzero(changes != CONTINUED).tolist():
            self._apply(env, int(changes[env]))

        # What belongs to an action is kept at the last token before it.
        depth = self._depth
        last = (frames != PAD).sum(1) - 1
        self._tokens[rows, depth] = frames
        self._value[rows, depth, last] = values
        self._log_prob[rows, depth, last] = log_probs
        self._reward[rows, depth, last] = rewards
        self._time[rows, depth, last] = self._clock
        self._acted[rows, depth, last] = True
        self._last_action = actions
        self._clock += 1
        return self._ended

    def _is_open(self) -> npt.NDArray[np.bool_]:
        """Returns ``[N, D]``: which places of the call stacks hold an open frame."""
        return np.arange(self._tokens.shape[1]) <= self._depth[:, None]

    def _apply(self, env: int, change: int) -> None:
        """Applies what the last action did to a call stack.

        Args:
            env: Index of the environment.
            change: The change, which is not ``CONTINUED``.
        """
        if change == STARTED:
            self._end_episode(env)
            self._depth[env] = 0
        elif change == OPENED:
            self._depth[env] += 1
        elif change == REPLACED:
            self._close(env)
        elif change == RETURNED:
            self._close(env)
            self._depth[env] -= 1
            return  # the caller continues

        if self._depth[env] == self._tokens.shape[1]:
            raise ConfigurationError(
                f"a call stack of more than {self._depth[env]} frames; expected at most the environment's depth"
            )
        self._open(env)

    def _open(self, env: int) -> None:
        """Clears the place on top of a stack for a new frame; what else it holds is overwritten."""
        self._acted[env, self._depth[env]] = False
        self._reward[env, self._depth[env]] = 0.0
        self._misled[env, self._depth[env]] = False

    def _end_episode(self, env: int) -> None:
        """Closes the frame on top, and decides about the frames that still wait for an answer."""
        if self._depth[env] < 0:
            return
        self._close(env)

        # Frames below the top are still open if a limit or an illegal token has ended the episode.
        callers = range(self._depth[env])
        if self.credit == "blame":
            # A frame that waits for the answer to a useless subtask is itself to blame. The others are not: what ended
            # the episode has happened in a frame above them.
            for depth in callers:
                if not self._waits_for_useful_subtask(env, depth):
                    self._ended.append(self._take(env, depth))
        elif self.credit == "episode":
            self._release(int(self._episode[env]))
            for depth in callers:
                self._ended.append(self._take(env, depth))

        # Serial numbers in steps of N: those of two environments never meet.
        self._episode[env] += len(self._rows)

    def _release(self, episode: int) -> None:
        """Moves the ended frames of an episode, which has ended now, from the waiting to the ended ones."""
        still_waiting = []
        for frame in self._waiting:
            if frame.episode == episode:
                self._ended.append(frame)
            else:
                still_waiting.append(frame)
        self._waiting = still_waiting

    def _close(self, env: int) -> None:
        """Judges the frame on top of a stack, and adds it to the ended ones if it is to be learned from."""
        depth = int(self._depth[env])
        frame = self._take(env, depth)
        if self.credit == "episode":
            self._waiting.append(frame)
            return

        # Roots are rewarded by the environment, children here.
        verdict: Verdict = "right"
        if frame.tokens[0] == SUBTASK:
            verdict = frame_verdict(frame.tokens.tobytes())
            frame.rewards[-1] += verdict == "right"

        # A wrong answer, or a tail call that changes the answer, misleads the caller. It does not excuse a caller that
        # had no use for the subtask: otherwise calling strange subtasks would cost nothing.
        if verdict == "wrong" and depth and self._waits_for_useful_subtask(env, depth - 1):
            self._misled[env, depth - 1] = True

        is_excused = self.credit == "blame" and self._misled[env, depth]
        if verdict in ("right", "wrong") and not is_excused:
            self._ended.append(frame)

    def _waits_for_useful_subtask(self, env: int, depth: int) -> bool:
        """Whether a frame has a use for the answer that it waits for.

        Args:
            env: Index of the environment.
            depth: Place of the frame on its stack.
        """
        caller = self._tokens[env, depth].tobytes().rstrip(b"\0")
        prompt = caller[: caller.index(EQUALS) + 1]

        # The subtask as the caller has written it. The frame above it may have another prompt by now, after tail
        # calls. "<subtask> 4 2 / 2 = <think> <call> 2 / 2" has called "<subtask> 2 / 2 =".
        subtask = bytes([SUBTASK, *caller[caller.rindex(CALL) + 1 :], EQUALS])
        return is_useful_subtask(prompt, subtask)

    def _take(self, env: int, depth: int) -> TrainingFrame:
        """Copies a frame with everything that belongs to its actions.

        Args:
            env: Index of the environment.
            depth: Place of the frame on its stack.
        """
        positions = np.flatnonzero(self._acted[env, depth])
        # The last action is in no observation. A frame below the top was left by the end of its call.
        is_top = depth == self._depth[env]
        last_action = self._last_action[env] if is_top else END_CALL
        length = positions[-1] + 1
        tokens = np.empty(length + 1, dtype=np.uint8)
        tokens[:length] = self._tokens[env, depth, :length]
        tokens[length] = last_action
        return TrainingFrame(
            tokens,
            positions,
            values=self._value[env, depth, positions],
            log_probs=self._log_prob[env, depth, positions],
            rewards=self._reward[env, depth, positions],
            times=self._time[env, depth, positions],
            episode=int(self._episode[env]),
        )


def _restored_frame(state: Mapping[str, Any]) -> TrainingFrame:
    """Returns a frame from its fields, whose arrays may have become tensors in a file."""
    values: dict[str, Any] = {}
    for name, value in state.items():
        values[name] = value if isinstance(value, int) else np.asarray(value)
    return TrainingFrame(**values)
