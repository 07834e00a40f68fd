"""The transition function: N call stacks of frames, as arrays.

One frame is one context: a prompt, thinking, an answer. The rules only push, pop and inject. ``</call>`` pushes a
child frame, ``<eos>`` discards a frame and injects its answer into the parent, a tail call replaces the current frame;
every digit is written by the agent.

Shapes: N call stacks, D frames deep at most, L tokens long at most. Frames live in flat arrays ``[N * D, L]``; the
frame at depth d of stack n is row ``n * D + d``, so the top frames are one index array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.grammar import Channel, Event, Grammar, State
from o1nano.envs.vocab import CALL, END_CALL, END_THINK, EQUALS, GOTO, REVISE, SUBTASK, VOCAB_SIZE

Ints = npt.NDArray[np.intp]
# Everything about a call stack that its past decides.
_STATE = (
    *("tokens", "length", "state", "prompt_length", "mark", "depth", "top"),
    *("channel_tokens", "emitted", "calls", "revisions", "deepest", "longest"),
)


class Outcome(IntEnum):
    """Why an episode ended; only ``ANSWERED`` can be a success."""

    RUNNING = 0
    ANSWERED = 1
    ILLEGAL_TOKEN = 2
    FRAME_FULL = 3
    TOO_DEEP = 4
    SELF_CALL = 5
    OUT_OF_TOKENS = 6


@dataclass(frozen=True)
class Limits:
    """What one answer may cost.

    Attributes:
        frame_length: Tokens in one frame, prompt and injected answers included; also the length of an observation.
        depth: Frames open at the same time, the root included.
        tokens: Tokens emitted for one root problem, over all its frames.
    """

    frame_length: int = 128
    depth: int = 32
    tokens: int = 4096

    def __post_init__(self) -> None:
        for name, least in (("frame_length", 8), ("depth", 1), ("tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}; accepted: an integer of at least {least}")


class Ended(NamedTuple):
    """A frame that has ended: its stack, its depth, all its tokens."""

    stack: int
    depth: int
    tokens: bytes


# What a token does besides being written: an Event in the lowest bits, and these.
_EVENT, _ILLEGAL, _MARKS, _REVISES = 3, 4, 8, 16


def _happening(grammar: Grammar) -> npt.NDArray[np.uint8]:
    """``[NUM_STATES, VOCAB_SIZE]``: everything about a token that most tokens have nothing of."""
    table = grammar.event | np.where(grammar.legal, 0, _ILLEGAL)
    table[:, [CALL, GOTO, END_THINK]] |= _MARKS
    table[:, REVISE] |= _REVISES
    return table.astype(np.uint8)


class CallStacks:
    """N independent call stacks that advance by one token each.

    Attributes:
        tokens: ``[N * D, L]`` uint8, zero-padded frames.
        length: ``[N * D]`` tokens in each frame.
        state: ``[N * D]`` grammar state of each frame.
        depth: ``[N]`` index of the top frame.
        channel_tokens: ``[3, N]`` emitted tokens by ``Channel``.
        emitted: ``[N]`` all of them.
        calls, revisions, deepest, longest: ``[N]`` usage of the current problem.
        trace: Set to a list to have every frame that returns or tail-calls appended to it, children before parents.
    """

    def __init__(self, num_stacks: int, limits: Limits, grammar: Grammar) -> None:
        self.num_stacks, self.limits, self.grammar = num_stacks, limits, grammar
        frames = num_stacks * limits.depth
        self.tokens = np.zeros((frames, limits.frame_length), dtype=np.uint8)
        self.length = np.zeros(frames, dtype=np.intp)
        self.state = np.zeros(frames, dtype=np.uint8)
        self.prompt_length = np.zeros(frames, dtype=np.intp)
        self.mark = np.zeros(frames, dtype=np.intp)  # where the open call, tail call or answer begins
        self.depth = np.zeros(num_stacks, dtype=np.intp)
        self.base = np.arange(num_stacks, dtype=np.intp) * limits.depth
        self.top = self.base.copy()
        self.channel_tokens = np.zeros((len(Channel), num_stacks), dtype=np.int64)
        self.emitted = np.zeros(num_stacks, dtype=np.int64)
        self.calls, self.revisions, self.deepest, self.longest = np.zeros((4, num_stacks), dtype=np.int64)
        self.trace: list[Ended] | None = None
        # Tables of the grammar, flat: taking from them is the cheapest look-up that NumPy has.
        self._successor, self._happening = grammar.successor.ravel(), _happening(grammar).ravel()
        self._row_start = np.arange(frames, dtype=np.intp) * limits.frame_length

    def pose(self, stack: int, prompt: Sequence[int]) -> None:
        """Clears one call stack and opens its first frame on a prompt: ``<problem> ... =``, or a ``<subtask>``'s.

        Raises:
            ConfigurationError: If the prompt leaves no room in the frame.
        """
        if len(prompt) >= self.limits.frame_length:
            raise ConfigurationError(
                f"a problem of {len(prompt)} tokens; accepted: fewer than frame_length={self.limits.frame_length}"
            )
        row = self.base[stack]
        self.depth[stack], self.top[stack] = 0, row
        self.tokens[row] = 0
        self.tokens[row, : len(prompt)] = prompt
        self._open(row, len(prompt), State.CHILD_START if prompt[0] == SUBTASK else State.ROOT_START)
        self.channel_tokens[:, stack] = self.emitted[stack] = 0
        self.calls[stack] = self.revisions[stack] = 0
        self.deepest[stack], self.longest[stack] = 1, len(prompt)

    def continue_at(self, stack: int, frame: Sequence[int], prompt_length: int) -> None:
        """Clears one call stack and goes on with a frame that is under way.

        Args:
            stack: Which stack.
            frame: Its tokens so far.
            prompt_length: How many of them are its prompt.
        """
        self.pose(stack, frame)
        row = self.top[stack]
        self.prompt_length[row] = prompt_length
        self.state[row] = self.grammar.run(frame)

    def rewind(self, stack: int, length: int) -> None:
        """Takes back what the top frame holds beyond some length; what it cost stays spent."""
        row = self.top[stack]
        self.tokens[row, length:] = 0
        self.length[row] = length
        self.state[row] = self.grammar.run(self.tokens[row, :length].tolist())

    def park(self, stack: int) -> None:
        """Closes a call stack whose episode has ended: until it is posed a problem, its steps mean nothing."""
        self.tokens[self.top[stack]] = 0
        self._open(self.top[stack], 0, State.EMPTY)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the state as arrays."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restores what ``state_dict`` of as many call stacks with the same limits returned."""
        for name in _STATE:
            getattr(self, name)[...] = state[name]

    def observe(self) -> npt.NDArray[np.uint8]:
        """Returns a copy of the top frames, ``[N, L]``."""
        return self.tokens.take(self.top, axis=0)

    def masks(self) -> npt.NDArray[np.bool_]:
        """Returns the legal next tokens of the top frames, ``[N, V]``."""
        return self.grammar.legal[self.state[self.top]]

    def step(self, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Appends one token to every top frame and does what it asks for.

        Args:
            actions: ``[N]`` token ids.

        Returns:
            ``[N]`` the ``Outcome`` of each stack. A stack that has ended must be posed a new problem before its
            next step.
        """
        top = self.top
        state, at = self.state.take(top), self.length.take(top)
        code = state * np.intp(VOCAB_SIZE) + actions
        self.tokens.reshape(-1)[self._row_start.take(top) + at] = actions
        self.length[top] = at + 1
        np.maximum(self.longest, at + 1, out=self.longest)
        self.state[top] = self._successor.take(code)
        channel = self.grammar.channel.take(state)
        for index, counts in enumerate(self.channel_tokens):
            counts += channel == index
        self.emitted += 1
        outcome = np.zeros(self.num_stacks, dtype=np.uint8)
        happening = self._happening.take(code)
        rows = happening.nonzero()[0]
        if len(rows):
            self._happen(rows, happening[rows], at[rows], outcome)
        length = self.length.take(self.top)
        full, spent = length >= self.limits.frame_length, self.emitted >= self.limits.tokens
        if full.any():
            outcome[full & (outcome == Outcome.RUNNING)] = Outcome.FRAME_FULL
        if spent.any():
            outcome[spent & (outcome == Outcome.RUNNING)] = Outcome.OUT_OF_TOKENS
        return outcome

    def _happen(self, stacks: Ints, what: npt.NDArray[np.uint8], at: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        """Does what some tokens ask for besides being written."""
        outcome[stacks[(what & _ILLEGAL) > 0]] = Outcome.ILLEGAL_TOKEN
        self.revisions[stacks[(what & _REVISES) > 0]] += 1
        marks = (what & _MARKS) > 0
        self.mark[self.top[stacks[marks]]] = at[marks] + 1
        event = what & _EVENT
        for kind, method in (
            (Event.CALL, self._call),
            (Event.TAIL_CALL, self._tail_call),
            (Event.RETURN, self._return),
        ):
            those = stacks[event == kind]
            if len(those):
                method(those, outcome)

    def answer(self, stack: int) -> bytes:
        """Returns the visible answer of a stack whose root has returned: completion tokens only, without ``<eos>``."""
        row = self.top[stack]
        return self.tokens[row, self.mark[row] : self.length[row] - 1].tobytes()

    def open_frames(self, stack: int) -> list[npt.NDArray[np.uint8]]:
        """Returns the tokens of every open frame of a stack, root first."""
        first = self.base[stack]
        return [self.tokens[row, : self.length[row]] for row in range(first, first + self.depth[stack] + 1)]

    def _open(self, row: npt.ArrayLike, length: npt.ArrayLike, state: int) -> None:
        rows = np.asarray(row)
        self.length[rows] = self.prompt_length[rows] = self.mark[rows] = length
        self.state[rows] = state

    def _call(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        self.calls[stacks] += 1
        deep = self.depth[stacks] + 1 >= self.limits.depth
        outcome[stacks[deep]] = Outcome.TOO_DEEP
        stacks = stacks[~deep]
        parent = self.top[stacks]
        child = parent + 1
        self._write_subtask(parent, child, END_CALL)
        outcome[stacks[self._same_prompt(parent, child)]] = Outcome.SELF_CALL
        pushed = outcome[stacks] == Outcome.RUNNING
        self.depth[stacks[pushed]] += 1
        self.top[stacks[pushed]] += 1
        np.maximum(self.deepest, self.depth + 1, out=self.deepest)

    def _tail_call(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        self._record(stacks)
        row = self.top[stacks]
        frames, lengths = self.tokens[row], self.prompt_length[row]
        self._write_subtask(row, row, EQUALS)
        same = (lengths == self.length[row]) & (
            (frames == self.tokens[row]) | (np.arange(self.limits.frame_length) >= lengths[:, None])
        ).all(1)
        outcome[stacks[same]] = Outcome.SELF_CALL

    def _write_subtask(self, source: Ints, target: Ints, end: int) -> None:
        """Writes ``<subtask> expr =`` into the target rows, from the expressions that the source rows just ended."""
        if not len(source):
            return
        start, size = self.mark[source], self.length[source] - 1 - self.mark[source]
        offset, inside = self._ragged(size)
        # A gathered copy, because a tail call reads and writes the same row.
        expression = self.tokens[source[:, None], np.where(inside, start[:, None] + offset, 0)]
        self.tokens[target] = 0
        self.tokens[target, 0] = SUBTASK
        rows, columns = np.nonzero(inside)
        self.tokens[target[rows], 1 + columns] = expression[rows, columns]
        self.tokens[target, 1 + size] = EQUALS
        self._open(target, size + 2, State.CHILD_START)

    def _same_prompt(self, parent: Ints, child: Ints) -> npt.NDArray[np.bool_]:
        same: npt.NDArray[np.bool_] = self.prompt_length[parent] == self.length[child]
        for index in np.flatnonzero(same):
            length = self.length[child[index]]
            same[index] = (self.tokens[parent[index], :length] == self.tokens[child[index], :length]).all()
        return same

    def _return(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        self._record(stacks)
        root = self.depth[stacks] == 0
        outcome[stacks[root]] = Outcome.ANSWERED
        stacks = stacks[~root]
        if not len(stacks):
            return
        child = self.top[stacks]
        parent = child - 1
        start, at = self.mark[child], self.length[parent]
        size = self.length[child] - 1 - start
        fits = at + size <= self.limits.frame_length
        outcome[stacks[~fits]] = Outcome.FRAME_FULL
        stacks, child, parent, start, at, size = (x[fits] for x in (stacks, child, parent, start, at, size))
        _, inside = self._ragged(size)
        rows, columns = np.nonzero(inside)
        self.tokens[parent[rows], at[rows] + columns] = self.tokens[child[rows], start[rows] + columns]
        self.length[parent] = at + size
        self.depth[stacks] -= 1
        self.top[stacks] = parent

    def _record(self, stacks: Ints) -> None:
        if self.trace is not None:
            for stack in stacks:
                row = self.top[stack]
                frame = self.tokens[row, : self.length[row]].tobytes()
                self.trace.append(Ended(int(stack), int(self.depth[stack]), frame))

    def _ragged(self, size: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Returns column offsets ``[W]`` and which of them lie inside each row, ``[len(size), W]``."""
        offset = np.arange(size.max(initial=0))
        return offset, offset < size[:, None]
