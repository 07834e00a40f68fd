"""The transition function: N call stacks of frames, as arrays.

One frame is one context: a prompt, thinking, an answer. The code here only pushes, pops and injects. ``</call>`` pushes
a child frame, ``<eos>`` discards a frame and injects its answer into the parent, a tail call replaces the current
frame. Every digit is written by the agent.

A step is a fixed number of array operations on all stacks, and some more on those few where a frame opens or returns.

Shapes: N call stacks, D frames deep at most, L tokens long at most. Frames live in flat arrays ``[N * D, L]``. The
frame at depth d of stack n is row ``n * D + d``, so the top frames are one index array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.config import Limits
from o1nano.envs.core.grammar import Channel, Event, Grammar, State
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


# Plain integers: NumPy takes several times as long to compare an array with a member of an enumeration.
RUNNING = int(Outcome.RUNNING)
ANSWERED = int(Outcome.ANSWERED)
_CALL = int(Event.CALL)
_TAIL_CALL = int(Event.TAIL_CALL)
_RETURN = int(Event.RETURN)
_ILLEGAL = len(Event)  # one more than the events of the grammar: an illegal token
_CHILD_START = int(State.CHILD_START)
_EMPTY = int(State.EMPTY)
_START = np.array([State.ROOT_START, State.CHILD_START])  # of the frame of a problem, of a subtask

# Everything about a call stack that its past decides.
_STATE = (
    "tokens",
    "top",
    "depth",
    "length",
    "state",
    "mark",
    "suspended_length",
    "suspended_state",
    "usage",
    "emitted",
    "deepest",
    "longest",
)


class Ended(NamedTuple):
    """A frame that has ended: its stack, its depth, all its tokens."""

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
        length, state: ``[N]`` tokens of the top frame, and the grammar's state after them.
        mark: ``[N]`` where the question or answer that is being written in the top frame begins.
        suspended_length, suspended_state: ``[N * D]`` the same of frames that wait for a child.
        usage: ``[N, 5]`` emitted tokens by channel, calls, revisions.
        emitted, deepest, longest: ``[N]`` tokens emitted, most frames open at a time, longest frame.
        trace: Set to a list to have every frame that returns or tail-calls appended to it, children before parents.
    """

    def __init__(self, num_stacks: int, limits: Limits, grammar: Grammar) -> None:
        self.num_stacks = num_stacks
        self.limits = limits
        self.grammar = grammar
        frames = num_stacks * limits.depth
        self.tokens = np.zeros((frames, limits.frame_length), dtype=np.uint8)
        self.suspended_length, self.suspended_state = np.zeros((2, frames), dtype=np.intp)
        self.base = np.arange(num_stacks, dtype=np.intp) * limits.depth
        self.top = self.base.copy()
        self.depth, self.length, self.state, self.mark = np.zeros((4, num_stacks), dtype=np.intp)
        self.emitted, self.deepest, self.longest = np.zeros((3, num_stacks), dtype=np.int64)
        self.usage = np.zeros((num_stacks, len(Channel) + 2), dtype=np.int64)
        self.trace: list[Ended] | None = None

        # Tables by state * VOCAB_SIZE + token: one look-up a step tells everything about all tokens.
        self._successor = grammar.successor.ravel().astype(np.intp)
        self._event = np.where(grammar.legal, grammar.event, _ILLEGAL).ravel()
        self._eventful = self._event > 0
        self._begins_span = np.isin(np.arange(len(self._event)) % VOCAB_SIZE, (CALL, GOTO, END_THINK))
        self._usage_of_token = _usage_of_token(grammar)

    @property
    def channel_tokens(self) -> npt.NDArray[np.int64]:
        """``[3, N]`` emitted tokens by ``Channel``."""
        return self.usage.T[: len(Channel)]

    @property
    def calls(self) -> npt.NDArray[np.int64]:
        """``[N]`` calls."""
        return self.usage[:, len(Channel)]

    @property
    def revisions(self) -> npt.NDArray[np.int64]:
        """``[N]`` revisions."""
        return self.usage[:, len(Channel) + 1]

    def check(self, prompt: Sequence[int]) -> None:
        """Raises ``ConfigurationError`` if a prompt leaves no room in the frame."""
        room = self.limits.frame_length
        if len(prompt) >= room:
            raise ConfigurationError(f"a problem of {len(prompt)} tokens; expected fewer than frame_length={room}")

    def pose(self, stacks: Sequence[int] | Ints, prompts: Sequence[Sequence[int]]) -> None:
        """Clears some call stacks and opens the first frame of each: ``<problem> ... =``, or a ``<subtask>``'s.

        Args:
            stacks: Which call stacks.
            prompts: The first frame of each, as token ids.

        Raises:
            ConfigurationError: If a prompt leaves no room in the frame. Nothing has changed then.
        """
        for prompt in prompts:
            self.check(prompt)
        stacks = np.asarray(stacks)
        size = np.array([len(prompt) for prompt in prompts], dtype=np.intp)
        written = b"".join(map(bytes, prompts))
        rows = self.base[stacks]

        self.tokens[rows] = 0
        (where,) = ragged_ranges(size, rows * self.limits.frame_length)
        self.tokens.reshape(-1)[where] = np.frombuffer(written, dtype=np.uint8)
        self.top[stacks] = rows
        self.depth[stacks] = 0
        self.deepest[stacks] = 1
        for array in (self.length, self.mark, self.longest):
            array[stacks] = size
        self.state[stacks] = _START[(self.tokens[rows, 0] == SUBTASK).astype(np.intp)]
        self.usage[stacks] = 0
        self.emitted[stacks] = 0

    def continue_at(self, stack: int, frame: bytes) -> None:
        """Clears one call stack and continues with a frame that is under way.

        Args:
            stack: Which call stack.
            frame: Its tokens so far.
        """
        self.pose([stack], [frame])
        self.state[stack] = self.grammar.run(frame)

    def close(self, stacks: int | Ints) -> None:
        """Closes call stacks whose episodes have ended. Until new problems are posed, their steps mean nothing."""
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
        return self.tokens[self.top[stack], self.mark[stack] : self.length[stack] - 1].tobytes()

    def open_frames(self, stack: int) -> list[npt.NDArray[np.uint8]]:
        """Returns the tokens of every open frame of a stack, root first."""
        suspended = range(self.base[stack], self.top[stack])
        frames = [self.tokens[row, : self.suspended_length[row]] for row in suspended]
        return [*frames, self.frame(stack)]

    def frame(self, stack: int) -> npt.NDArray[np.uint8]:
        """Returns the tokens of the top frame of a stack."""
        return self.tokens[self.top[stack], : self.length[stack]]

    def step(self, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Appends one token to every top frame and does what it asks for.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N]`` the ``Outcome`` of each stack. A stack that has ended must be posed a new problem before its
            next step.
        """
        code = self.state * VOCAB_SIZE + actions
        self.tokens.reshape(-1)[self.top * self.limits.frame_length + self.length] = actions.astype(np.uint8)
        self.state[:] = self._successor.take(code)
        self.length += 1
        np.maximum(self.longest, self.length, out=self.longest)
        np.copyto(self.mark, self.length, where=self._begins_span.take(code))
        self.usage += self._usage_of_token.take(code, axis=0)
        self.emitted += 1

        outcome = np.zeros(self.num_stacks, dtype=np.uint8)
        eventful = self._eventful.take(code).nonzero()[0]
        if len(eventful):
            self._apply_events(eventful, self._event[code[eventful]], outcome)

        full = self.length >= self.limits.frame_length
        spent = self.emitted >= self.limits.max_tokens
        for over, why in ((full, Outcome.FRAME_FULL), (spent, Outcome.OUT_OF_TOKENS)):
            if over.any():
                outcome[over & (outcome == RUNNING)] = why
        return outcome

    def _apply_events(self, stacks: Ints, event: npt.NDArray[np.uint8], outcome: npt.NDArray[np.uint8]) -> None:
        """Does what some tokens ask for besides being written."""
        outcome[stacks[event == _ILLEGAL]] = Outcome.ILLEGAL_TOKEN
        self._record(stacks[(event == _TAIL_CALL) | (event == _RETURN)])
        asks = event <= _TAIL_CALL
        self._open(stacks[asks], event[asks] == _CALL, outcome)
        self._return(stacks[event == _RETURN], outcome)

    def _open(self, stacks: Ints, is_call: npt.NDArray[np.bool_], outcome: npt.NDArray[np.uint8]) -> None:
        """Opens frames on the questions that top frames have just ended. A call keeps its frame, a tail call does not.

        The question stands at the end of the top frame, between ``mark`` and the closing token. The new frame is
        ``<subtask> question =``, one row above its caller, or in the caller's own row after a tail call.
        """
        outcome[stacks[self._repeats_own_prompt(stacks)]] = Outcome.SELF_CALL
        outcome[stacks[is_call & (self.depth[stacks] + 1 >= self.limits.depth)]] = Outcome.TOO_DEEP
        allowed = outcome[stacks] == RUNNING
        stacks = stacks[allowed]
        is_call = is_call[allowed]
        if not len(stacks):
            return

        caller = self.top[stacks]
        start = self.mark[stacks]
        child = caller + is_call
        size = self.length[stacks] - 1 - start
        self.suspended_length[caller] = self.length[stacks]
        self.suspended_state[caller] = self.state[stacks]

        width = self.limits.frame_length
        flat = self.tokens.reshape(-1)
        source, target = ragged_ranges(size, caller * width + start, child * width + 1)
        question = flat[source]  # a copy: a tail call reads and writes the same row
        self.tokens[child] = 0
        self.tokens[child, 0] = SUBTASK
        flat[target] = question
        self.tokens[child, size + 1] = EQUALS

        self.top[stacks] = child
        self.depth[stacks] += is_call
        self.deepest[stacks] = np.maximum(self.deepest[stacks], self.depth[stacks] + 1)
        self.length[stacks] = size + 2
        self.mark[stacks] = size + 2
        self.state[stacks] = _CHILD_START

    def _repeats_own_prompt(self, stacks: Ints) -> npt.NDArray[np.bool_]:
        """Returns whether the question that a top frame has just ended is the one that it was opened on itself."""
        row = self.top[stacks]
        start = self.mark[stacks]
        end = self.length[stacks] - 1
        # A prompt ends with its only "=". Few prompts have the question's length, so the rest is compared one by one.
        ends_alike = self.tokens[row, end - start + 1] == EQUALS
        same: npt.NDArray[np.bool_] = ends_alike & (self.tokens[row, 0] == SUBTASK)
        for index in same.nonzero()[0].tolist():
            frame = self.tokens[row[index]].tobytes()
            same[index] = frame.startswith(frame[start[index] : end[index]], 1)
        return same

    def _return(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        """Discards top frames that have answered, and appends their answers to the frames that called them."""
        is_root = self.depth[stacks] == 0
        outcome[stacks[is_root]] = ANSWERED

        child = self.top[stacks]
        resumed_at = self.suspended_length[child - 1]
        size = self.length[stacks] - 1 - self.mark[stacks]
        too_long = ~is_root & (resumed_at + size > self.limits.frame_length)
        outcome[stacks[too_long]] = Outcome.FRAME_FULL

        resumes = ~(is_root | too_long)
        stacks, child, resumed_at, size = (each[resumes] for each in (stacks, child, resumed_at, size))
        if not len(stacks):
            return
        parent = child - 1
        width = self.limits.frame_length
        flat = self.tokens.reshape(-1)
        source, target = ragged_ranges(size, child * width + self.mark[stacks], parent * width + resumed_at)
        flat[target] = flat[source]
        self.length[stacks] = resumed_at + size
        self.state[stacks] = self.suspended_state[parent]
        self.top[stacks] = parent
        self.depth[stacks] -= 1

    def _record(self, stacks: Ints) -> None:
        if self.trace is not None:
            for stack in stacks.tolist():
                self.trace.append(Ended(stack, int(self.depth[stack]), self.frame(stack).tobytes()))


def ragged_ranges(size: Ints, *starts: Ints) -> list[Ints]:
    """Returns the indices of ranges of different sizes, one range after the other.

    For sizes (2, 3) and starts (10, 20) these are 10, 11, 20, 21, 22.

    Args:
        size: ``[M]`` sizes of the ranges.
        *starts: ``[M]`` first indices; there is a result for each such array.
    """
    end = size.cumsum()
    within = np.arange(end[-1]) - (end - size).repeat(size)
    return [within + start.repeat(size) for start in starts]


def _usage_of_token(grammar: Grammar) -> npt.NDArray[np.int64]:
    """Returns ``[NUM_STATES * VOCAB_SIZE, 5]``: what a token adds to ``usage``."""
    table = np.zeros((*grammar.event.shape, len(Channel) + 2), dtype=np.int64)
    for channel in Channel:
        table[grammar.channel == channel, :, channel] = 1
    table[..., len(Channel)] = grammar.event == _CALL
    table[:, REVISE, len(Channel) + 1] = 1
    return table.reshape(-1, len(Channel) + 2)
