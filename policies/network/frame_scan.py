"""Where each token of a frame stands: its place, role, offset and grammar state, by one scan from left to right.

The transformer has no positions of its own. What it knows beyond the causal mask is, for each token, a *place* (the
significance of a digit within its number, or the column that a thought is about), a *role* (which number of an
expression, which returned answer, digit or carry) and, where it is configured to, an *offset* (the distance from the
marker that began its expression, thought or answer). All are input features, like the column a pupil writes a digit
in; what to write there is the model's business. Places follow Abacus embeddings (McLeish et al. 2024) and position
coupling (Cho et al. 2024).

The scan keeps a small memory for each frame, so that decoding continues it token by token. Only a prompt is read as a
whole: a root's numbers count their places down from their last digit.

Shapes: B frames, T tokens of a frame, M tokens of all frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.language import vocab
from o1nano.policies.network.compiled import compiled

Ints = npt.NDArray[np.int64]

NUM_ROLES = 32
_LAST_NUMBER_ROLE = 13  # numbers of an expression, counted from 1
_DIGIT_ROLE = 14  # 15 is the carry
_RETURNED_ROLE = 16  # plus the number of calls so far, at most 15
_MOST_CALLS = NUM_ROLES - 1 - _RETURNED_ROLE

# Sections of a frame, by the token that opens each.
_PROMPT, _WRITTEN, _RETURNED, _ANSWER = 1, 2, 3, 4
_SECTION = np.zeros(vocab.VOCAB_SIZE, dtype=np.int32)
_SECTION[[vocab.PROBLEM, vocab.SUBTASK, vocab.CALL, vocab.GOTO]] = _PROMPT
_SECTION[[vocab.THINK, vocab.REVISE, vocab.WRONG, vocab.OK, vocab.STEP]] = _WRITTEN
_SECTION[vocab.END_CALL] = _RETURNED
_SECTION[vocab.END_THINK] = _ANSWER

_NO_GRAMMAR = np.zeros((1, vocab.VOCAB_SIZE), dtype=np.uint8)

# The memory of a frame: what the scan must know of the tokens before.
STATE = 0  # grammar state
PROMPTED = 1  # whether the prompt's "=" has been read
_ROOT = 2  # whether this is the frame of a problem
_OPENED_BY = 3  # section
_MARKER = 4  # where the section begins
_DIGITS = 5  # length of the number that is being read; 0 outside numbers
_VERDICTS = 6  # likewise for signs of comparison
_NUMBERS = 7  # numbers so far
_NUMBERS_BEFORE = 8  # of those, the ones before the expression or answer that is being read
_CALLS = 9
_QUOTIENT = 10  # digits of the answer that was returned last, before its R
_REMAINDER = 11  # and after its R
_AFTER_R = 12  # whether that R has been read
_SECOND = 13  # whether the R of the frame's own answer has been read
MEMORY = 14


class Scan(NamedTuple):
    """Where tokens stand; four arrays of the same shape, int32.

    Attributes:
        place: Significance or column, from 0.
        role: Which number, answer or kind of written digit, below ``NUM_ROLES``.
        offset: Tokens since the last marker, from 0: an expression that is handed on runs parallel to its source.
        state: Grammar state after the token.
    """

    place: npt.NDArray[np.int32]
    role: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int32]
    state: npt.NDArray[np.int32]


def scan_batch(tokens: npt.NDArray[np.uint8], successor: npt.NDArray[np.uint8] = _NO_GRAMMAR) -> Scan:
    """Scans whole frames.

    Args:
        tokens: ``[B, T]``, padded with 0.
        successor: ``[NUM_STATES, VOCAB_SIZE]``, the ``Grammar.successor``; by default all states are 0.

    Returns:
        ``[B, T]`` each.
    """
    batch, length = tokens.shape
    start = np.arange(batch, dtype=np.int64) * length
    memory = np.zeros((batch, MEMORY), dtype=np.int32)
    out = np.empty((4, batch * length), dtype=np.int32)

    zero = np.zeros(batch, dtype=np.int64)
    scan_frames(
        np.ascontiguousarray(tokens).reshape(-1), start, zero, zero + length, zero, start, memory, successor, out
    )
    return Scan(*out.reshape(4, batch, length))


@compiled
def scan_frames(
    tokens: npt.NDArray[np.uint8],
    start: Ints,
    first: Ints,
    stop: Ints,
    wanted: Ints,
    target: Ints,
    memory: npt.NDArray[np.int32],
    successor: npt.NDArray[np.uint8],
    out: npt.NDArray[np.int32],
) -> None:
    """Scans some tokens of each of B frames.

    Args:
        tokens: ``[M]`` the frames, one after the other, padded or not.
        start: ``[B]`` index in ``tokens`` of each frame's first token.
        first: ``[B]`` position in its frame of the first token to read: 0, or where the last scan stopped. A frame
            whose prompt is not complete starts again from 0.
        stop: ``[B]`` position after the last token to read.
        wanted: ``[B]`` position of the first token whose result is written.
        target: ``[B]`` where in ``out`` the result of that token goes.
        memory: ``[B, MEMORY]`` read unless ``first`` is 0, and written.
        successor: ``[NUM_STATES, VOCAB_SIZE]`` grammar states.
        out: ``[4, ...]`` places, roles, offsets and states, written.
    """
    for frame in range(len(start)):
        scan_frame(
            tokens[start[frame] :],
            first[frame],
            stop[frame],
            wanted[frame],
            target[frame],
            memory[frame],
            successor,
            out,
        )


@compiled
def scan_frame(
    tokens: npt.NDArray[np.uint8],
    first: int,
    stop: int,
    wanted: int,
    target: int,
    memory: npt.NDArray[np.int32],
    successor: npt.NDArray[np.uint8],
    out: npt.NDArray[np.int32],
) -> None:
    """Scans some tokens of one frame; the arguments are those of ``scan_frames``."""
    if first == 0:
        memory[:] = 0
        memory[_ROOT] = tokens[0] == vocab.PROBLEM
    for position in range(first, stop):
        _scan_token(tokens[position], position, wanted, target - wanted, memory, successor, out)
    if memory[_ROOT] and not memory[PROMPTED]:
        _count_down(stop, memory[_DIGITS], wanted, target - wanted, out)


@compiled
def _scan_token(
    token: int,
    position: int,
    wanted: int,
    shift: int,
    memory: npt.NDArray[np.int32],
    successor: npt.NDArray[np.uint8],
    out: npt.NDArray[np.int32],
) -> None:
    """Reads one token; results of positions from ``wanted`` are written at ``position + shift``."""
    in_prompt = not memory[PROMPTED]  # before this token
    number_before = memory[_DIGITS]
    _remember(token, position, memory, successor)
    section, digits, is_root = memory[_OPENED_BY], memory[_DIGITS], memory[_ROOT]

    role = min(memory[_NUMBERS] - memory[_NUMBERS_BEFORE], _LAST_NUMBER_ROLE)
    if section == _RETURNED:
        role = _RETURNED_ROLE + min(memory[_CALLS], _MOST_CALLS)
    elif section == _WRITTEN and digits:
        role = _DIGIT_ROLE + (digits - 1) % 2

    place = digits
    if section == _WRITTEN and digits:
        place = digits // 2 + 1  # a carry stands in the next column, where it is needed
    elif memory[_VERDICTS]:
        place = memory[_VERDICTS] + 1  # like a carry, a verdict stands where the next column is read
    elif token == vocab.THINK or token == vocab.REVISE:
        place = 1  # thinking begins in the first column; every other opening token stands just below the units
    if is_root and section == _ANSWER and token != vocab.PAD:
        place = _answer_place(memory)

    # Next to the last significant digit of a prompt's number, a token that is no digit stands in the place after it:
    # who copies the number digit by digit then finds something there that says that it has ended. Without this a
    # number's end is the absence of a digit, which attention sees badly, and copying stops at the demonstrated length.
    if in_prompt and not digits and number_before and not is_root:
        place = number_before + 1  # a child's numbers have their units first
    if in_prompt and not digits and is_root:
        _count_down(position, number_before, wanted, shift, out)
    if in_prompt and digits == 1 and is_root and position > wanted:
        out[1, position - 1 + shift] = role

    if position >= wanted:
        out[0, position + shift] = place
        out[1, position + shift] = role
        out[2, position + shift] = position - memory[_MARKER]
        out[3, position + shift] = memory[STATE]


@compiled
def _remember(token: int, position: int, memory: npt.NDArray[np.int32], successor: npt.NDArray[np.uint8]) -> None:
    """Updates the memory of a frame with a token."""
    memory[STATE] = successor[memory[STATE], token]
    opens = _SECTION[token]
    if opens:
        memory[_OPENED_BY] = opens
        memory[_MARKER] = position
    if opens == _PROMPT or opens == _ANSWER:
        memory[_NUMBERS_BEFORE] = memory[_NUMBERS]
    if token == vocab.EQUALS:
        memory[PROMPTED] = 1
    section = memory[_OPENED_BY]

    if vocab.ZERO <= token <= vocab.NINE:
        memory[_DIGITS] += 1
        memory[_NUMBERS] += memory[_DIGITS] == 1
    else:
        memory[_DIGITS] = 0
    if section == _WRITTEN and vocab.LESS <= token <= vocab.SAME:
        memory[_VERDICTS] += 1
    else:
        memory[_VERDICTS] = 0

    # What was returned last: a root's answer is written in the length of its quotient and of its remainder.
    if token == vocab.END_CALL:
        memory[_CALLS] += 1
        memory[_QUOTIENT : _AFTER_R + 1] = 0
    elif section == _RETURNED and token == vocab.REMAINDER:
        memory[_AFTER_R] = 1
    elif section == _RETURNED and memory[_DIGITS]:
        memory[_QUOTIENT + memory[_AFTER_R]] += 1
    elif section == _ANSWER and token == vocab.REMAINDER:
        memory[_SECOND] = 1


@compiled
def _answer_place(memory: npt.NDArray[np.int32]) -> int:
    """Returns the place of a token of a root's answer: its digits count down, as people write numbers."""
    length = int(memory[_QUOTIENT + memory[_SECOND]])
    digits = int(memory[_DIGITS])
    return max(length - digits + 1, 0) if digits else length + 1


@compiled
def _count_down(stop: int, digits: int, wanted: int, shift: int, out: npt.NDArray[np.int32]) -> None:
    """Writes the places of a root's number that ends before ``stop``, and of the token before it.

    ``+ 9 8 =`` gets 3 2 1 and, for ``=``, what the scan says.
    """
    if digits:
        for position in range(max(stop - digits - 1, wanted, 0), stop):
            out[0, position + shift] = stop - position
