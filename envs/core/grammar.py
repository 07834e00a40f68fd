"""Which tokens are legal next, and who speaks: a finite automaton over the tokens of one frame.

It is a grammar, not arithmetic: it knows that ``<call>`` opens an expression, not whether the expression is sensible.
State, channel and mask of a position are functions of the tokens before it, so a policy can compute them itself from
an observation, and the environment keeps one small integer per open frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from o1nano.envs.language import vocab
from o1nano.envs.language.vocab import ID, VOCAB_SIZE


class Channel(IntEnum):
    """The decoder that writes a token; also the index of its count in ``info``."""

    REASONING = 0
    COMPLETION = 1
    SUBTASK = 2


class Event(IntEnum):
    """What a token makes the call stack do."""

    NONE = 0
    CALL = 1
    TAIL_CALL = 2
    RETURN = 3


class State(IntEnum):
    """Where in a frame the next token stands. ``ROOT`` and ``CHILD`` frames differ in the tail call only."""

    EMPTY = 0
    ILLEGAL = 1
    ROOT_PROMPT = 2
    ROOT_START = 3
    ROOT_THINK = 4
    CHILD_PROMPT = 5
    CHILD_START = 6
    CHILD_THINK = 7
    ANSWER = 8  # nothing of the answer is written yet
    ANSWER_NEGATIVE = 9
    ANSWER_NUMBER = 10
    ANSWER_REMAINDER = 11  # after R, before a digit
    ANSWER_REMAINDER_NUMBER = 12
    DONE = 13
    # Three copies of the expression states: a call from a root, a call from a child, a tail call.
    ROOT_CALL = 14
    CHILD_CALL = 18
    TAIL = 22
    ANSWER_SYMBOLS = 26  # a formula, a comparison, or nothing


NUM_STATES = 27
_NEGATIVE, _NUMBER, _CLOSED = 1, 2, 3  # offsets of the states inside an expression, after the opening one
_DIGITS = slice(vocab.ZERO, vocab.NINE + 1)
_OPERATORS = [ID[operator] for operator in "+-*/\\"]
_THOUGHTS = [ID[token] for token in (*vocab.DIGITS, "-", "R", "_", ";", "%", "<ok>", "<wrong>", "<revise>")]
_SYMBOLS = np.array([ID[token] for token in (*"+-*/()_<>", "==")])
_FUNCTIONS = [ID[name] for name in vocab.CALLABLE_FUNCTIONS]


@dataclass(frozen=True)
class Grammar:
    """Tables of the automaton.

    Attributes:
        thinking: Whether ``<think>`` is legal; without it a frame is a prompt and an answer.
        calls: Whether ``<call>`` and ``<goto>`` open frames. Without them a frame holds the whole solution: a question
            is followed by the thinking about it, ``<call> 1 + 2 <think> ... </call> 3``, all written by the agent.
        functions: Whether calls may name a function and list its arguments, and answers (so thoughts, too) may be
            formulas, comparisons or ``_``; without it problems are arithmetic and answers are numbers.
    """

    thinking: bool = True
    calls: bool = True
    functions: bool = False

    @cached_property
    def successor(self) -> npt.NDArray[np.uint8]:
        """``[NUM_STATES, VOCAB_SIZE]``: the state after a token, for injected tokens and prompts as well."""
        table = np.full((NUM_STATES, VOCAB_SIZE), State.ILLEGAL, dtype=np.uint8)
        table[State.EMPTY, vocab.PROBLEM] = State.ROOT_PROMPT
        table[State.EMPTY, vocab.SUBTASK] = State.CHILD_PROMPT
        for prompt, start, think, call in (
            (State.ROOT_PROMPT, State.ROOT_START, State.ROOT_THINK, State.ROOT_CALL),
            (State.CHILD_PROMPT, State.CHILD_START, State.CHILD_THINK, State.CHILD_CALL),
        ):
            table[prompt] = prompt
            table[prompt, vocab.EQUALS] = start
            self._answer_from(table, start)
            if self.thinking:
                table[start, vocab.THINK] = think
            table[think, _THOUGHTS] = think
            table[think, vocab.END_THINK] = State.ANSWER
            table[think, vocab.CALL] = call
            self._expression(table, call, vocab.END_CALL if self.calls else vocab.THINK, think)
            if not self.calls:
                table[think, vocab.END_CALL] = think
        if self.calls:
            table[State.CHILD_THINK, vocab.GOTO] = State.TAIL
        self._expression(table, State.TAIL, vocab.EQUALS, State.DONE)
        self._answer_from(table, State.ANSWER)
        table[State.ANSWER_NEGATIVE, _DIGITS] = State.ANSWER_NUMBER
        table[State.ANSWER_NUMBER, _DIGITS] = State.ANSWER_NUMBER
        table[State.ANSWER_NUMBER, vocab.REMAINDER] = State.ANSWER_REMAINDER
        table[State.ANSWER_REMAINDER, _DIGITS] = State.ANSWER_REMAINDER_NUMBER
        table[State.ANSWER_REMAINDER_NUMBER, _DIGITS] = State.ANSWER_REMAINDER_NUMBER
        table[[State.ANSWER_NUMBER, State.ANSWER_REMAINDER_NUMBER], vocab.EOS] = State.DONE
        if self.functions:
            self._functions(table)
        return table

    @staticmethod
    def _functions(table: npt.NDArray[np.uint8]) -> None:
        """Adds transitions; none of those without functions changes."""
        for first in (State.ROOT_CALL, State.CHILD_CALL, State.TAIL):
            table[first, _FUNCTIONS] = first
            table[[first + _NUMBER, first + _CLOSED], vocab.COMMA] = first
        for think in (State.ROOT_THINK, State.CHILD_THINK):
            table[think, _SYMBOLS] = think  # what a child answers stands in its caller's thoughts
        symbols = State.ANSWER_SYMBOLS
        for state in (State.ROOT_START, State.CHILD_START, State.ANSWER, State.ANSWER_NUMBER, symbols):
            table[state, _SYMBOLS[table[state, _SYMBOLS] == State.ILLEGAL]] = symbols
        table[symbols, _DIGITS] = symbols
        table[symbols, vocab.EOS] = State.DONE

    @staticmethod
    def _answer_from(table: npt.NDArray[np.uint8], state: int) -> None:
        table[state, _DIGITS] = State.ANSWER_NUMBER
        table[state, vocab.MINUS] = State.ANSWER_NEGATIVE

    @staticmethod
    def _expression(table: npt.NDArray[np.uint8], first: int, end: int, after: int) -> None:
        negative, number, closed = first + _NEGATIVE, first + _NUMBER, first + _CLOSED
        table[first, vocab.MINUS] = negative
        table[first, vocab.OPEN] = first
        table[[first, negative, number], _DIGITS] = number
        table[[[number], [closed]], _OPERATORS] = first
        table[[number, closed], vocab.CLOSE] = closed
        table[[number, closed], vocab.CHECK] = closed
        table[[number, closed], end] = after

    @cached_property
    def legal(self) -> npt.NDArray[np.bool_]:
        """``[NUM_STATES, VOCAB_SIZE]``: whether an agent may emit a token in a state."""
        table: npt.NDArray[np.bool_] = self.successor != State.ILLEGAL
        table[[State.EMPTY, State.ILLEGAL, State.ROOT_PROMPT, State.CHILD_PROMPT, State.DONE]] = False
        return table

    @cached_property
    def channel(self) -> npt.NDArray[np.uint8]:
        """``[NUM_STATES]``: the ``Channel`` of the next token. A tail call is written by the subtask decoder too."""
        table = np.full(NUM_STATES, Channel.COMPLETION, dtype=np.uint8)
        table[[State.ROOT_THINK, State.CHILD_THINK]] = Channel.REASONING
        table[State.ROOT_CALL : State.ANSWER_SYMBOLS] = Channel.SUBTASK
        return table

    @cached_property
    def event(self) -> npt.NDArray[np.uint8]:
        """``[NUM_STATES, VOCAB_SIZE]``: the ``Event`` that a legal token causes."""
        table = np.full((NUM_STATES, VOCAB_SIZE), Event.NONE, dtype=np.uint8)
        table[State.ROOT_CALL : State.TAIL, vocab.END_CALL] = Event.CALL
        table[State.TAIL :, vocab.EQUALS] = Event.TAIL_CALL
        table[[*range(State.ANSWER, State.DONE), State.ANSWER_SYMBOLS], vocab.EOS] = Event.RETURN
        return np.where(self.legal, table, Event.NONE).astype(np.uint8)

    def run(self, tokens: Iterable[int], state: int = State.EMPTY) -> int:
        """Returns the state after some tokens."""
        for token in tokens:
            state = int(self.successor[state, token])
        return state

    def states(self, tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Returns ``[N, T]``: the state after each token of N padded frames ``[N, T]``."""
        states = np.empty(tokens.shape, dtype=np.uint8)
        state = np.full(len(tokens), State.EMPTY, dtype=np.uint8)
        for column in range(tokens.shape[1]):
            state = self.successor[state, tokens[:, column]]
            states[:, column] = state
        return states
