"""The transition function: N call stacks of frames, as arrays.

One frame is one context: a prompt, thinking, an answer. The code here only pushes, pops and injects. ``</call>`` pushes
a child frame, ``<eos>`` discards a frame and injects its answer into the parent, a tail call replaces the current
frame. Every digit is written by the agent.

A step is a fixed number of array operations on all stacks, and a few more on the stacks where a frame opens or returns.

Shapes: N call stacks, at most D frames deep, frames of at most L tokens. Frames live in flat arrays ``[N * D, L]``. The
frame at depth d of stack n is row ``n * D + d``, so the top frames are one index array. With D = 4::

    row 0: stack 0, root    row 4: stack 1, root
    row 1: stack 0, child   row 5: stack 1, child     depth = [1, 0], top = [1, 4]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.config import Limits
from o1nano.envs.core.frame_changes import CONTINUED, REPLACED, RETURNED, STARTED
from o1nano.envs.core.grammar import Channel, Event, Grammar, State
from o1nano.envs.core.usage import EPISODE_USAGE, Usage
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import CALL, END_THINK, EQUALS, GOTO, REVISE, SUBTASK, VOCAB_SIZE

Ints = npt.NDArray[np.intp]


class Outcome(IntEnum):
    """Why an episode ended; only ``ANSWERED`` can be a success."""

    RUNNING = 0
    ANSWERED = 1
    ILLEGAL_TOKEN = 2
    FRAME_FULL = 3
    TOO_DEEP = 4
    SELF_CALL = 5
    OUT_OF_TOKENS = 6


# Plain integers: NumPy takes several times as long to compare or fill an array with a member of an enumeration.
RUNNING = int(Outcome.RUNNING)
ANSWERED = int(Outcome.ANSWERED)
_ILLEGAL_TOKEN = int(Outcome.ILLEGAL_TOKEN)
_FRAME_FULL = int(Outcome.FRAME_FULL)
_TOO_DEEP = int(Outcome.TOO_DEEP)
_SELF_CALL = int(Outcome.SELF_CALL)
_OUT_OF_TOKENS = int(Outcome.OUT_OF_TOKENS)
_CALL = int(Event.CALL)
_TAIL_CALL = int(Event.TAIL_CALL)
_RETURN = int(Event.RETURN)
_ILLEGAL = len(Event)  # one more than the largest event of the grammar: an illegal token
_CHILD_START = int(State.CHILD_START)
_EMPTY = int(State.EMPTY)
_START = np.array([State.ROOT_START, State.CHILD_START])  # after the prompt of a problem, of a subtask

# Columns of `counts`, after those of the three channels.
_SUBTASKS = len(Channel)
_REVISIONS = _SUBTASKS + 1
_COUNTS = _REVISIONS + 1

# The attributes that make up the state of a call stack.
_STATE = (
    "tokens",
    "top",
    "depth",
    "length",
    "state",
    "span_start",
    "suspended_length",
    "suspended_state",
    "counts",
    "emitted",
    "deepest",
    "longest",
)


class Ended(NamedTuple):
    """A frame that has ended.

    Attributes:
        stack: Its call stack.
        depth: Its depth; 0 is the root.
        tokens: All its tokens.
    """

    stack: int
    depth: int
    tokens: bytes


class CallStacks:
    """N independent call stacks that advance by one token each.

    Args:
        num_stacks: N.
        limits: Largest frame, depth and number of tokens.
        grammar: Which tokens are legal, and what they do.

    Attributes:
        tokens: ``[N * D, L]`` the frames.
        top: ``[N]`` row of the top frame.
        depth: ``[N]`` depth of the top frame; 0 is the root.
        length: ``[N]`` number of tokens in the top frame.
        state: ``[N]`` the grammar's state after the tokens of the top frame.
        span_start: ``[N]`` index in the top frame where the question or answer begins that is being written.
        suspended_length: ``[N * D]`` the length of each frame that waits for a child.
        suspended_state: ``[N * D]`` the grammar's state of each frame that waits for a child.
        changes: ``[N]`` what the last step did to the top frame, a ``FrameChange``.
        counts: ``[N, 5]`` emitted tokens by channel, calls, revisions.
        emitted: ``[N]`` emitted tokens.
        deepest: ``[N]`` largest number of frames that were open at the same time.
        longest: ``[N]`` tokens of the longest frame.
        trace: Set to a list, it collects every frame that returns or tail-calls, children before their callers.
    """

    def __init__(self, num_stacks: int, limits: Limits, grammar: Grammar) -> None:
        self.num_stacks = num_stacks
        self.limits = limits
        self.grammar = grammar

        # One row for each frame that can be open.
        frames = num_stacks * limits.depth
        self.tokens = np.zeros((frames, limits.frame_length), dtype=np.uint8)
        self.suspended_length = np.zeros(frames, dtype=np.intp)
        self.suspended_state = np.zeros(frames, dtype=np.intp)

        # The top frame of each stack.
        self.base = np.arange(num_stacks, dtype=np.intp) * limits.depth
        self.top = self.base.copy()
        self.depth = np.zeros(num_stacks, dtype=np.intp)
        self.length = np.zeros(num_stacks, dtype=np.intp)
        self.state = np.zeros(num_stacks, dtype=np.intp)
        self.span_start = np.zeros(num_stacks, dtype=np.intp)
        self.changes = np.full(num_stacks, STARTED, dtype=np.uint8)

        # What the answer has cost so far.
        self.counts = np.zeros((num_stacks, _COUNTS), dtype=np.int64)
        self.emitted = np.zeros(num_stacks, dtype=np.int64)
        self.deepest = np.zeros(num_stacks, dtype=np.int64)
        self.longest = np.zeros(num_stacks, dtype=np.int64)
        self.trace: list[Ended] | None = None

        # Tables indexed by state * VOCAB_SIZE + token, so that a step looks up all stacks with one index array. A
        # question begins after <call> or <goto>, an answer after </think>: there span_start is set.
        self._successor = grammar.successor.ravel().astype(np.intp)
        self._event = np.where(grammar.legal, grammar.event, _ILLEGAL).ravel()
        self._has_event = self._event > 0
        self._begins_span = np.isin(np.arange(len(self._event)) % VOCAB_SIZE, (CALL, GOTO, END_THINK))
        self._counts_of_token = _counts_of_token(grammar)

    def usage(self) -> dict[str, npt.NDArray[np.int64]]:
        """Returns what the answers have cost so far: ``[N]`` for each name in ``EPISODE_USAGE``."""
        columns = (*self.counts.T.copy(), self.deepest.copy(), self.longest.copy())
        return dict(zip(EPISODE_USAGE, columns, strict=True))

    def usage_of(self, stack: int) -> Usage:
        """Returns what the answer of one stack has cost so far."""
        reasoning, completion, subtask, subtasks, revisions = self.counts[stack].tolist()
        return Usage(
            reasoning_tokens=reasoning,
            completion_tokens=completion,
            subtask_tokens=subtask,
            subtasks=subtasks,
            revisions=revisions,
            depth=int(self.deepest[stack]),
            longest_context=int(self.longest[stack]),
        )

    def check(self, prompt: Sequence[int]) -> None:
        """Raises ``ConfigurationError`` if a prompt leaves no room in the frame."""
        room = self.limits.frame_length
        if len(prompt) >= room:
            raise ConfigurationError(f"a problem of {len(prompt)} tokens; expected fewer than frame_length={room}")

    def pose(self, stacks: Sequence[int] | Ints, prompts: Sequence[Sequence[int]]) -> None:
        """Clears some call stacks and opens the first frame of each.

        Args:
            stacks: Indices of the call stacks.
            prompts: The first frame of each, as token ids: ``<problem> ... =`` or ``<subtask> ... =``.

        Raises:
            ConfigurationError: If a prompt leaves no room in the frame. Nothing has changed then.
        """
        for prompt in prompts:
            self.check(prompt)
        stacks = np.asarray(stacks)
        size = np.array([len(prompt) for prompt in prompts], dtype=np.intp)
        written = b"".join(map(bytes, prompts))
        rows = self.base[stacks]

        # All prompts are written at once: the r-th one starts at flat index rows[r] * L.
        self.tokens[rows] = 0
        (where,) = ragged_ranges(size, rows * self.limits.frame_length)
        self.tokens.reshape(-1)[where] = np.frombuffer(written, dtype=np.uint8)

        self.top[stacks] = rows
        self.depth[stacks] = 0
        self.length[stacks] = size
        self.span_start[stacks] = size
        self.state[stacks] = _START[(self.tokens[rows, 0] == SUBTASK).astype(np.intp)]
        self.changes[stacks] = STARTED

        self.counts[stacks] = 0
        self.emitted[stacks] = 0
        self.deepest[stacks] = 1
        self.longest[stacks] = size

    def continue_at(self, stack: int, frame: bytes) -> None:
        """Clears one call stack and continues with a frame that has already begun.

        Args:
            stack: Index of the call stack.
            frame: The tokens of the frame so far.
        """
        self.pose([stack], [frame])
        self.state[stack] = self.grammar.run(frame)

    def close(self, stacks: int | Ints) -> None:
        """Empties call stacks whose episodes have ended. Their steps have no meaning until a problem is posed."""
        self.tokens[self.top[stacks]] = 0
        self.length[stacks] = 0
        self.state[stacks] = _EMPTY

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state as arrays."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restores what ``state_dict`` returned for the same number of call stacks with the same limits."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]

    def observe(self) -> npt.NDArray[np.uint8]:
        """Returns a copy of the top frames, ``[N, L]``."""
        return self.tokens.take(self.top, axis=0)

    def masks(self) -> npt.NDArray[np.bool_]:
        """Returns the legal next tokens of the top frames, ``[N, V]``."""
        return self.grammar.legal.take(self.state, axis=0)

    def answer(self, stack: int) -> bytes:
        """Returns the visible answer of a stack whose root has returned: completion tokens only, without ``<eos>``."""
        return self.tokens[self.top[stack], self.span_start[stack] : self.length[stack] - 1].tobytes()

    def open_frames(self, stack: int) -> list[npt.NDArray[np.uint8]]:
        """Returns the tokens of every open frame of a stack, root first."""
        suspended = range(self.base[stack], self.top[stack])
        frames = [self.tokens[row, : self.suspended_length[row]] for row in suspended]
        return [*frames, self.frame(stack)]

    def frame(self, stack: int) -> npt.NDArray[np.uint8]:
        """Returns the tokens of the top frame of a stack."""
        return self.tokens[self.top[stack], : self.length[stack]]

    def step(self, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Appends one token to every top frame, then opens and returns frames.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N]`` the ``Outcome`` of each stack. A stack that has ended must be posed a new problem before its
            next step.
        """
        # Write the token at the end of each top frame, and look up everything about it in the tables.
        code = self.state * VOCAB_SIZE + actions
        self.tokens.reshape(-1)[self.top * self.limits.frame_length + self.length] = actions.astype(np.uint8)
        self.state[:] = self._successor.take(code)
        self.length += 1
        self.changes.fill(CONTINUED)
        np.copyto(self.span_start, self.length, where=self._begins_span.take(code))

        # Count it.
        np.maximum(self.longest, self.length, out=self.longest)
        self.counts += self._counts_of_token.take(code, axis=0)
        self.emitted += 1

        # Few stacks open or return a frame in a step: only these take part in what follows.
        outcome = np.zeros(self.num_stacks, dtype=np.uint8)
        eventful = self._has_event.take(code).nonzero()[0]
        if len(eventful):
            self._apply_events(eventful, self._event[code[eventful]], outcome)

        # Limits end an episode only if nothing else has ended it in this step.
        is_full = self.length >= self.limits.frame_length
        is_spent = self.emitted >= self.limits.max_tokens
        if (is_full | is_spent).any():
            outcome[is_full & (outcome == RUNNING)] = _FRAME_FULL
            outcome[is_spent & (outcome == RUNNING)] = _OUT_OF_TOKENS
        return outcome

    def _apply_events(self, stacks: Ints, event: npt.NDArray[np.uint8], outcome: npt.NDArray[np.uint8]) -> None:
        """Opens, replaces and discards frames.

        Args:
            stacks: ``[M]`` indices of the stacks on which the last token has an effect beyond being written.
            event: ``[M]`` the effect: an ``Event``, or ``_ILLEGAL``.
            outcome: ``[N]`` outcomes of the step, written where an episode ends.
        """
        outcome[stacks[event == _ILLEGAL]] = _ILLEGAL_TOKEN
        returns = event == _RETURN
        if self.trace is not None:
            self._record(self.trace, stacks[returns | (event == _TAIL_CALL)])

        asks = event <= _TAIL_CALL
        self._open(stacks[asks], event[asks] == _CALL, outcome)
        self._return(stacks[returns], outcome)

    def _open(self, stacks: Ints, is_call: npt.NDArray[np.bool_], outcome: npt.NDArray[np.uint8]) -> None:
        """Opens frames on the questions that top frames have just ended. A call keeps its frame, a tail call does not.

        The question stands at the end of the top frame, between ``span_start`` and the closing token. The new frame is
        ``<subtask> question =``, one row above its caller, or in the caller's own row after a tail call.
        """
        if not len(stacks):
            return

        # Refused questions end the episode. The rest of the step is for those that are allowed.
        outcome[stacks[self._repeats_own_prompt(stacks)]] = _SELF_CALL
        outcome[stacks[is_call & (self.depth[stacks] + 1 >= self.limits.depth)]] = _TOO_DEEP
        allowed = outcome[stacks] == RUNNING
        if allowed.any():
            self._push(stacks[allowed], is_call[allowed])

    def _push(self, stacks: Ints, is_call: npt.NDArray[np.bool_]) -> None:
        """Puts a new frame on top of stacks, whose prompt is the question at the end of the old top frame.

        Args:
            stacks: ``[M]`` indices of the stacks.
            is_call: ``[M]`` whether the old frame stays below, as the caller; otherwise the new one takes its row.
        """
        # Callers wait in the row below their child. After a tail call nothing returns to this frame, so what is saved
        # for its row is never read.
        caller = self.top[stacks]
        start = self.span_start[stacks]
        child = caller + is_call
        size = self.length[stacks] - 1 - start
        self.suspended_length[caller] = self.length[stacks]
        self.suspended_state[caller] = self.state[stacks]

        # Copy the questions, all at once, to index 1 of the new frames. With L = 128, a question of 5 tokens at index 9
        # of row 2 is at flat indices 265 to 269; as a child in row 3 it goes to 385 to 389.
        width = self.limits.frame_length
        flat = self.tokens.reshape(-1)
        source, target = ragged_ranges(size, caller * width + start, child * width + 1)
        question = flat[source]  # a copy, because a tail call reads and writes the same row
        self.tokens[child] = 0
        self.tokens[child, 0] = SUBTASK
        flat[target] = question
        self.tokens[child, size + 1] = EQUALS

        # The new frame is on top, and holds its prompt only.
        self.top[stacks] = child
        self.depth[stacks] += is_call
        self.deepest[stacks] = np.maximum(self.deepest[stacks], self.depth[stacks] + 1)
        self.length[stacks] = size + 2
        self.span_start[stacks] = size + 2
        self.state[stacks] = _CHILD_START
        self.changes[stacks] = REPLACED + is_call  # or OPENED, which is one more

    def _repeats_own_prompt(self, stacks: Ints) -> npt.NDArray[np.bool_]:
        """Returns ``[M]``: whether the question that a top frame has just ended is the frame's own prompt."""
        row = self.top[stacks]
        start = self.span_start[stacks]
        end = self.length[stacks] - 1

        # A prompt ends with its only "=", so a prompt "<subtask> question =" of this length has one at the question's
        # size + 1. Few frames pass this test, so their tokens are compared one frame at a time.
        ends_alike = self.tokens[row, end - start + 1] == EQUALS
        same: npt.NDArray[np.bool_] = ends_alike & (self.tokens[row, 0] == SUBTASK)
        for index in same.nonzero()[0].tolist():
            frame = self.tokens[row[index]].tobytes()
            same[index] = frame.startswith(frame[start[index] : end[index]], 1)
        return same

    def _return(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        """Discards top frames that have answered, and appends their answers to the frames that called them."""
        if not len(stacks):
            return

        # A root has no caller: its answer is the visible one, and the episode ends.
        is_root = self.depth[stacks] == 0
        outcome[stacks[is_root]] = ANSWERED

        # For roots, child - 1 is a row of another stack. What is read there is not used.
        child = self.top[stacks]
        resumed_at = self.suspended_length[child - 1]
        size = self.length[stacks] - 1 - self.span_start[stacks]
        too_long = ~is_root & (resumed_at + size > self.limits.frame_length)
        outcome[stacks[too_long]] = _FRAME_FULL

        resumes = ~(is_root | too_long)
        stacks = stacks[resumes]
        child = child[resumes]
        resumed_at = resumed_at[resumes]
        size = size[resumes]
        if not len(stacks):
            return

        # Copy the answers, all at once, to the ends of the frames that wait one row below.
        parent = child - 1
        width = self.limits.frame_length
        flat = self.tokens.reshape(-1)
        source, target = ragged_ranges(size, child * width + self.span_start[stacks], parent * width + resumed_at)
        flat[target] = flat[source]

        # The caller continues in the state after </call>: the tokens of an answer do not change it.
        self.length[stacks] = resumed_at + size
        self.state[stacks] = self.suspended_state[parent]
        self.top[stacks] = parent
        self.depth[stacks] -= 1
        self.changes[stacks] = RETURNED

    def _record(self, trace: list[Ended], stacks: Ints) -> None:
        """Adds the top frames of some stacks, which have ended, to the trace."""
        for stack in stacks.tolist():
            trace.append(Ended(stack, int(self.depth[stack]), self.frame(stack).tobytes()))


def ragged_ranges(size: Ints, *starts: Ints) -> list[Ints]:
    """Returns the indices of ranges of different sizes, one range after the other.

    For sizes (2, 3) and starts (10, 20) these are 10, 11, 20, 21, 22.

    Args:
        size: ``[M]`` sizes of the ranges.
        *starts: ``[M]`` first indices; there is a result for each such array.
    """
    # Each index within its own range. For sizes (2, 3): 0, 1, 0, 1, 2.
    end = size.cumsum()
    within = np.arange(end[-1]) - (end - size).repeat(size)
    return [within + start.repeat(size) for start in starts]


def _counts_of_token(grammar: Grammar) -> npt.NDArray[np.int64]:
    """Returns ``[NUM_STATES * VOCAB_SIZE, 5]``: what a token adds to ``counts``."""
    table = np.zeros((*grammar.event.shape, _COUNTS), dtype=np.int64)
    for channel in Channel:
        table[grammar.channel == channel, :, channel] = 1
    table[..., _SUBTASKS] = grammar.event == _CALL
    table[:, REVISE, _REVISIONS] = 1
    return table.reshape(-1, _COUNTS)
