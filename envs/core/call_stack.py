"""The transition function: N call stacks of frames, as arrays.

One frame is one context: a prompt, thinking, an answer. The rules only push, pop and inject. ``</call>`` pushes a
child frame, ``<eos>`` discards a frame and injects its answer into the parent, a tail call replaces the current frame;
every digit is written by the agent.

A step is a fixed number of operations on all stacks, and some more on those few where a frame opens or returns.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.grammar import Channel, Event, Grammar, State
from o1nano.envs.core.stacks import Ints, Limits, Stacks, spans
from o1nano.envs.language.vocab import CALL, END_THINK, EQUALS, GOTO, REVISE, SUBTASK, VOCAB_SIZE


class Outcome(IntEnum):
    """Why an episode ended; only ``ANSWERED`` can be a success."""

    RUNNING = 0
    ANSWERED = 1
    ILLEGAL_TOKEN = 2
    FRAME_FULL = 3
    TOO_DEEP = 4
    SELF_CALL = 5
    OUT_OF_TOKENS = 6


# Plain integers: to compare an array with a member of an enumeration takes NumPy several times as long.
RUNNING, ANSWERED, _ILLEGAL_TOKEN, _FRAME_FULL, _TOO_DEEP, _SELF_CALL, _OUT_OF_TOKENS = map(int, Outcome)
_CALL, _TAIL_CALL, _RETURN, _CHILD_START = map(int, (Event.CALL, Event.TAIL_CALL, Event.RETURN, State.CHILD_START))
_ILLEGAL = len(Event)  # beside the events of the grammar: what a token does that is not legal


class Ended(NamedTuple):
    """A frame that has ended: its stack, its depth, all its tokens."""

    stack: int
    depth: int
    tokens: bytes


class CallStacks(Stacks):
    """N independent call stacks that advance by one token each.

    Attributes:
        trace: Set to a list to have every frame that returns or tail-calls appended to it, children before parents.
    """

    def __init__(self, num_stacks: int, limits: Limits, grammar: Grammar) -> None:
        super().__init__(num_stacks, limits, grammar)
        self.trace: list[Ended] | None = None
        # Tables by state * VOCAB_SIZE + token: one look-up a step tells everything about all tokens.
        self._successor = grammar.successor.ravel().astype(np.intp)
        self._event = np.where(grammar.legal, grammar.event, _ILLEGAL).ravel()
        self._eventful = self._event > 0
        self._marks = np.isin(np.arange(len(self._event)) % VOCAB_SIZE, (CALL, GOTO, END_THINK))
        self._usage = _usage(grammar)

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
        np.copyto(self.mark, self.length, where=self._marks.take(code))
        self.usage += self._usage.take(code, axis=0)
        self.emitted += 1
        outcome = np.zeros(self.num_stacks, dtype=np.uint8)
        eventful = self._eventful.take(code).nonzero()[0]
        if len(eventful):
            self._happen(eventful, self._event[code[eventful]], outcome)
        full, spent = self.length >= self.limits.frame_length, self.emitted >= self.limits.tokens
        for over, why in ((full, _FRAME_FULL), (spent, _OUT_OF_TOKENS)):
            if over.any():
                outcome[over & (outcome == RUNNING)] = why
        return outcome

    def _happen(self, stacks: Ints, event: npt.NDArray[np.uint8], outcome: npt.NDArray[np.uint8]) -> None:
        """Does what some tokens ask for besides being written."""
        outcome[stacks[event == _ILLEGAL]] = _ILLEGAL_TOKEN
        returns = stacks[event == _RETURN]
        asks = event <= _TAIL_CALL
        self._record(stacks[(event == _TAIL_CALL) | (event == _RETURN)])
        self._ask(stacks[asks], event[asks] == _CALL, outcome)
        self._return(returns, outcome)

    def _ask(self, stacks: Ints, keeps: npt.NDArray[np.bool_], outcome: npt.NDArray[np.uint8]) -> None:
        """Opens frames on the questions that top frames have just ended; a call keeps the asker."""
        outcome[stacks[self._is_own_prompt(stacks)]] = _SELF_CALL
        outcome[stacks[keeps & (self.depth[stacks] + 1 >= self.limits.depth)]] = _TOO_DEEP
        asked = outcome[stacks] == RUNNING
        stacks, keeps = stacks[asked], keeps[asked]
        if not len(stacks):
            return
        asker, start = self.top[stacks], self.mark[stacks]
        child, size = asker + keeps, self.length[stacks] - 1 - start
        self.suspended_length[asker], self.suspended_state[asker] = self.length[stacks], self.state[stacks]
        width, tokens = self.limits.frame_length, self.tokens.reshape(-1)
        source, target = spans(size, asker * width + start, child * width + 1)
        question = tokens[source]  # a copy: a tail call reads and writes the same row
        self.tokens[child] = 0
        self.tokens[child, 0] = SUBTASK
        tokens[target] = question
        self.tokens[child, size + 1] = EQUALS
        self.top[stacks] = child
        self.depth[stacks] += keeps
        self.deepest[stacks] = np.maximum(self.deepest[stacks], self.depth[stacks] + 1)
        self.length[stacks] = self.mark[stacks] = size + 2
        self.state[stacks] = _CHILD_START

    def _is_own_prompt(self, stacks: Ints) -> npt.NDArray[np.bool_]:
        """Tells whether the question that a top frame has just ended is the one that it was opened on itself."""
        row, start, end = self.top[stacks], self.mark[stacks], self.length[stacks] - 1
        # A prompt ends with its only "=": few are of the question's length, so the rest is looked at one by one.
        same: npt.NDArray[np.bool_] = (self.tokens[row, end - start + 1] == EQUALS) & (self.tokens[row, 0] == SUBTASK)
        for index in same.nonzero()[0].tolist():
            frame = self.tokens[row[index]].tobytes()
            same[index] = frame.startswith(frame[start[index] : end[index]], 1)
        return same

    def _return(self, stacks: Ints, outcome: npt.NDArray[np.uint8]) -> None:
        """Discards top frames that have answered, and writes the answer behind the call below."""
        root = self.depth[stacks] == 0
        outcome[stacks[root]] = ANSWERED
        child = self.top[stacks]
        at, size = self.suspended_length[child - 1], self.length[stacks] - 1 - self.mark[stacks]
        over = ~root & (at + size > self.limits.frame_length)
        outcome[stacks[over]] = _FRAME_FULL
        goes_on = ~(root | over)
        stacks, child, at, size = stacks[goes_on], child[goes_on], at[goes_on], size[goes_on]
        if not len(stacks):
            return
        parent, width, tokens = child - 1, self.limits.frame_length, self.tokens.reshape(-1)
        source, target = spans(size, child * width + self.mark[stacks], parent * width + at)
        tokens[target] = tokens[source]
        self.length[stacks], self.state[stacks] = at + size, self.suspended_state[parent]
        self.top[stacks] = parent
        self.depth[stacks] -= 1

    def _record(self, stacks: Ints) -> None:
        if self.trace is not None:
            for stack in stacks.tolist():
                self.trace.append(Ended(stack, int(self.depth[stack]), self.frame(stack).tobytes()))


def _usage(grammar: Grammar) -> npt.NDArray[np.int64]:
    """``[NUM_STATES * VOCAB_SIZE, 5]``: what a token adds to ``usage``."""
    table = np.zeros((*grammar.event.shape, len(Channel) + 2), dtype=np.int64)
    for channel in Channel:
        table[grammar.channel == channel, :, channel] = 1
    table[..., len(Channel)] = grammar.event == _CALL
    table[:, REVISE, len(Channel) + 1] = 1
    return table.reshape(-1, len(Channel) + 2)
