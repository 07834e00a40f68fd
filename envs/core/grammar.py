"""Which tokens are legal next, and which head writes them: a finite automaton over the tokens of one frame.

It is a grammar, not arithmetic: it knows that ``<call>`` opens an expression, not whether the expression is useful.
State, channel and mask of a position are functions of the tokens before it. So a policy can compute them from an
observation, and the environment keeps one small integer for each open frame.

A frame, the state after each token, and the channel of the next token::

    token      state after it   next channel
    <problem>  ROOT_PROMPT      completion     the prompt is given: nothing is emitted here
    5          ROOT_PROMPT      completion
    -          ROOT_PROMPT      completion
    2          ROOT_PROMPT      completion
    =          ROOT_START       completion     <think>, or an answer at once
    <think>    ROOT_THINK       reasoning
    <call>     ROOT_CALL        subtask        an operand must follow
    5          ROOT_CALL+2      subtask        inside a number
    -          ROOT_CALL        subtask        an operand must follow
    2          ROOT_CALL+2      subtask        inside a number
    </call>    ROOT_THINK       reasoning      a child frame answers; its answer is injected
    3          ROOT_THINK       reasoning
    </think>   ANSWER           completion
    3          ANSWER_NUMBER    completion
    <eos>      DONE             completion     the frame returns
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
    """The output head that writes a token; also the index of its count in ``CallStacks.counts``."""

    REASONING = 0
    COMPLETION = 1
    SUBTASK = 2


class Event(IntEnum):
    """What a token makes the call stack do."""

    NONE = 0
    CALL = 1  # open a child frame
    TAIL_CALL = 2  # replace the frame
    RETURN = 3  # discard the frame and inject its answer into the caller


class State(IntEnum):
    """Where in a frame the next token stands. ``ROOT`` and ``CHILD`` frames differ in the tail call only."""

    EMPTY = 0  # before the first token
    ILLEGAL = 1  # after an illegal token, for ever
    ROOT_PROMPT = 2  # between <problem> and =
    ROOT_START = 3  # after the = of a problem
    ROOT_THINK = 4  # between <think> and </think>, outside calls
    CHILD_PROMPT = 5  # between <subtask> and =
    CHILD_START = 6  # after the = of a subtask
    CHILD_THINK = 7  # between <think> and </think>, outside calls
    ANSWER = 8  # after </think>: nothing of the answer is written yet
    ANSWER_NEGATIVE = 9  # after a minus sign, before a digit
    ANSWER_NUMBER = 10  # inside a number, which may be the whole answer
    ANSWER_REMAINDER = 11  # after R, before a digit
    ANSWER_REMAINDER_NUMBER = 12  # inside the remainder
    DONE = 13  # after <eos>, or the = of a tail call
    # Three copies of the four expression states below: a call from a root, a call from a child, a tail call.
    ROOT_CALL = 14
    CHILD_CALL = 18
    TAIL = 22
    ANSWER_SYMBOLS = 26  # a formula, a comparison, or "_"
    ANSWER_REMAINDER_NEGATIVE = 27  # after the minus sign of a remainder, before a digit


NUM_STATES = 28

# The states inside an expression, as offsets from ROOT_CALL, CHILD_CALL or TAIL. At offset 0 an operand must follow:
# after the opening token, an operator, "(" or a comma. In "( - 1 2 + 3 ) *" the offsets are 0 1 2 2 0 2 3 0.
_NEGATIVE = 1  # after a minus sign, before a digit or "("
_NUMBER = 2  # inside a number
_CLOSED = 3  # after ")" or "%": an operand is complete

_DIGITS = slice(vocab.ZERO, vocab.NINE + 1)
_OPERATORS = [ID[operator] for operator in "+-*/\\"]
_THOUGHTS = [ID[token] for token in (*vocab.DIGITS, "-", "R", "_", ";", "%", "<ok>", "<wrong>", "<revise>")]
_SYMBOLS = np.array([ID[token] for token in (*"+-*/()_<>", "==")])
_FUNCTIONS = [ID[name] for name in vocab.CALLABLE_FUNCTIONS]


@dataclass(frozen=True)
class Grammar:
    """Tables of the automaton.

    Attributes:
        thinking: Whether ``<think>`` is legal. Without it a frame is a prompt and an answer.
        calls: Whether ``<call>`` and ``<goto>`` open frames. Without them one frame holds the whole solution, and the
            agent writes the thinking about a question after the question: ``<call> 1 + 2 <think> ... </call> 3``.
        functions: Whether calls may name a function and list its arguments, and whether answers (so thoughts too) may
            be formulas, comparisons or ``_``. Without it problems are arithmetic and answers are numbers.
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
        self._add_frame(table, State.ROOT_PROMPT, State.ROOT_START, State.ROOT_THINK, State.ROOT_CALL)
        self._add_frame(table, State.CHILD_PROMPT, State.CHILD_START, State.CHILD_THINK, State.CHILD_CALL)

        # Only a child can be replaced by a tail call.
        if self.calls:
            table[State.CHILD_THINK, vocab.GOTO] = State.TAIL
        self._add_expression(table, State.TAIL, vocab.EQUALS, State.DONE)

        self._add_answer(table)
        if self.functions:
            self._add_functions(table)
        return table

    def _add_frame(self, table: npt.NDArray[np.uint8], prompt: int, start: int, think: int, call: int) -> None:
        """Adds the states of a frame, from its prompt to the end of its thinking.

        Args:
            table: ``[NUM_STATES, VOCAB_SIZE]``, changed in place.
            prompt: The state inside the prompt.
            start: The state after the prompt.
            think: The state inside the thinking.
            call: The first state of a call.
        """
        # Every token stays in the prompt, until "=" ends it.
        table[prompt] = prompt
        table[prompt, vocab.EQUALS] = start

        # An answer may begin without thinking.
        self._begin_number(table, start)
        if self.thinking:
            table[start, vocab.THINK] = think

        table[think, _THOUGHTS] = think
        table[think, vocab.END_THINK] = State.ANSWER
        table[think, vocab.CALL] = call

        # A question ends with </call>, which opens a frame; without a call stack it ends with <think>, and the thinking
        # about it ends with </call>.
        self._add_expression(table, call, vocab.END_CALL if self.calls else vocab.THINK, think)
        if not self.calls:
            table[think, vocab.END_CALL] = think

    @staticmethod
    def _begin_number(table: npt.NDArray[np.uint8], state: int) -> None:
        """Lets a state begin a number of the answer."""
        table[state, _DIGITS] = State.ANSWER_NUMBER
        table[state, vocab.MINUS] = State.ANSWER_NEGATIVE

    @classmethod
    def _add_answer(cls, table: npt.NDArray[np.uint8]) -> None:
        """Adds the states of an answer: ``143``, ``-19``, ``139 R 18`` or ``-140 R -46``."""
        cls._begin_number(table, State.ANSWER)
        table[State.ANSWER_NEGATIVE, _DIGITS] = State.ANSWER_NUMBER
        table[State.ANSWER_NUMBER, _DIGITS] = State.ANSWER_NUMBER
        table[State.ANSWER_NUMBER, vocab.REMAINDER] = State.ANSWER_REMAINDER
        # The remainder of a negative divisor is negative. A second sign is not: after one, only digits follow.
        table[State.ANSWER_REMAINDER, _DIGITS] = State.ANSWER_REMAINDER_NUMBER
        table[State.ANSWER_REMAINDER, vocab.MINUS] = State.ANSWER_REMAINDER_NEGATIVE
        table[State.ANSWER_REMAINDER_NEGATIVE, _DIGITS] = State.ANSWER_REMAINDER_NUMBER
        table[State.ANSWER_REMAINDER_NUMBER, _DIGITS] = State.ANSWER_REMAINDER_NUMBER
        table[[State.ANSWER_NUMBER, State.ANSWER_REMAINDER_NUMBER], vocab.EOS] = State.DONE

    @staticmethod
    def _add_expression(table: npt.NDArray[np.uint8], first: int, end: int, after: int) -> None:
        """Adds the four states of an expression.

        Args:
            table: ``[NUM_STATES, VOCAB_SIZE]``, changed in place.
            first: The state in which an operand must follow.
            end: The token that ends the expression.
            after: The state after that token.
        """
        negative = first + _NEGATIVE
        number = first + _NUMBER
        closed = first + _CLOSED

        # An operand begins: "-", "(" or a digit. A sign may stand before parentheses: "-(1+2)".
        table[first, vocab.MINUS] = negative
        table[[first, negative], vocab.OPEN] = first
        table[[first, negative, number], _DIGITS] = number

        # After an operand: an operator, ")", "%" or the end.
        table[[[number], [closed]], _OPERATORS] = first
        table[[number, closed], vocab.CLOSE] = closed
        table[[number, closed], vocab.CHECK] = closed
        table[[number, closed], end] = after

    @staticmethod
    def _add_functions(table: npt.NDArray[np.uint8]) -> None:
        """Adds functions, formulas and comparisons. No transition of a grammar without them changes."""
        # A call may name a function, and a comma begins its next argument.
        for first in (State.ROOT_CALL, State.CHILD_CALL, State.TAIL):
            table[first, _FUNCTIONS] = first
            table[[first + _NUMBER, first + _CLOSED], vocab.COMMA] = first

        # What a child answers stands in its caller's thoughts.
        for think in (State.ROOT_THINK, State.CHILD_THINK):
            table[think, _SYMBOLS] = think

        # The first symbol that is no part of a number makes the answer one of symbols.
        symbols = State.ANSWER_SYMBOLS
        for state in (State.ROOT_START, State.CHILD_START, State.ANSWER, State.ANSWER_NUMBER, symbols):
            free = _SYMBOLS[table[state, _SYMBOLS] == State.ILLEGAL]
            table[state, free] = symbols
        table[symbols, _DIGITS] = symbols
        table[symbols, vocab.EOS] = State.DONE

    @cached_property
    def legal(self) -> npt.NDArray[np.bool_]:
        """``[NUM_STATES, VOCAB_SIZE]``: whether an agent may emit a token in a state."""
        table: npt.NDArray[np.bool_] = self.successor != State.ILLEGAL
        table[[State.EMPTY, State.ILLEGAL, State.ROOT_PROMPT, State.CHILD_PROMPT, State.DONE]] = False
        return table

    @cached_property
    def channel(self) -> npt.NDArray[np.uint8]:
        """``[NUM_STATES]``: the ``Channel`` of the next token. A tail call is written by the subtask head too."""
        table = np.full(NUM_STATES, Channel.COMPLETION, dtype=np.uint8)
        table[[State.ROOT_THINK, State.CHILD_THINK]] = Channel.REASONING
        table[State.ROOT_CALL : State.ANSWER_SYMBOLS] = Channel.SUBTASK
        return table

    @cached_property
    def event(self) -> npt.NDArray[np.uint8]:
        """``[NUM_STATES, VOCAB_SIZE]``: the ``Event`` that a legal token causes."""
        table = np.full((NUM_STATES, VOCAB_SIZE), Event.NONE, dtype=np.uint8)
        table[State.ROOT_CALL : State.TAIL, vocab.END_CALL] = Event.CALL
        table[State.TAIL : State.ANSWER_SYMBOLS, vocab.EQUALS] = Event.TAIL_CALL
        table[[*range(State.ANSWER, State.DONE), State.ANSWER_SYMBOLS], vocab.EOS] = Event.RETURN
        return np.where(self.legal, table, Event.NONE).astype(np.uint8)

    def run(self, tokens: Iterable[int], state: int = State.EMPTY) -> int:
        """Returns the state after some tokens.

        Args:
            tokens: Token ids.
            state: The state before them.
        """
        for token in tokens:
            state = int(self.successor[state, token])
        return state

    def states(self, tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Returns ``[N, T]``: the state after each token.

        Args:
            tokens: ``[N, T]``: N padded frames.
        """
        states = np.empty(tokens.shape, dtype=np.uint8)
        state = np.full(len(tokens), State.EMPTY, dtype=np.uint8)
        for column in range(tokens.shape[1]):
            state = self.successor[state, tokens[:, column]]
            states[:, column] = state
        return states
