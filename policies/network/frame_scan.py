"""The forward scan: place, role, offset, grammar state and column of each token of a frame, from left to right.

The transformer has no positions of its own. Beyond the causal mask it knows of each token

- its *place*: the significance of a digit within its number, or the column that a thought is about,
- its *role*: which number of an expression or returned answer it belongs to, or whether it is a digit or a carry,
- if configured, its *offset*: the distance from the marker that began its expression, thought or answer,
- and its *column*: the place, moved where the units of a number are dropped, so that a copy has its source's columns.

These are input features, like the column in which a pupil writes a digit. They say where to write, never what. Places
follow Abacus embeddings (McLeish et al. 2024) and position coupling (Cho et al. 2024). For 89 + 54, units first::

    token   <subtask> 8 9 + 5 4 = <think> 3 1 4 1 </think> 3 4 1
    place        0    1 2 3 1 2 3    1    1 2 2 3     0    1 2 3
    role         0    1 1 1 2 2 2    2   14 15 14 15  0    1 1 1

Products and quotients are solved by parts without the units of a number: 8914/64 asks for 891/64, and puts one digit
before the units of the quotient. There the units have column 0, and what is copied keeps its columns. The token after
a returned number has its role, and the column after its last digit::

    token   <subtask> 4 1 9 8 / 4 6 = <think> <call> 1 9 8 / 4 6 </call> 3 1 R 9 5 ; <call> 4 9 5 ... </think> 9 3 1
    place        0    1 2 3 4 5 1 2 3    1      0    1 2 3 0 1 2    0    1 2 0 1 2 0   0    1 2 3         0    1 2 3
    column       0    0 1 2 3 4 1 2 3    1      0    1 2 3 0 1 2    0    1 2 3 1 2 3   0    0 1 2         0    0 1 2

The state of the scan is a small memory for each frame, so that decoding continues it token by token. There is one look
ahead, within a prompt: the numbers of a root, whose units come last, count their places down to the last digit, and the
columns of a product or quotient depend on the lengths of both numbers.

Shapes: B frames, T tokens of a frame, M tokens of all frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.language import vocab
from o1nano.policies.network.compiled import compiled, inlined

Ints = npt.NDArray[np.int64]

NUM_ROLES = 32
_LAST_NUMBER_ROLE = 13  # numbers of an expression, counted from 1
_DIGIT_ROLE = 14  # written digits alternate: 14 is a result's digit, 15 a carry
_RETURNED_ROLE = 16  # plus the number of calls so far, at most _MOST_CALLS
_MOST_CALLS = NUM_ROLES - 1 - _RETURNED_ROLE

# Sections of a frame, and the section that each token opens; 0 if it opens none.
_PROMPT = 1  # an expression: the frame's own, or that of a call
_WRITTEN = 2  # thinking
_RETURNED = 3  # the injected answer of a call
_ANSWER = 4
_SECTION = np.zeros(vocab.VOCAB_SIZE, dtype=np.int32)
_SECTION[[vocab.PROBLEM, vocab.SUBTASK, vocab.CALL, vocab.GOTO]] = _PROMPT
_SECTION[[vocab.THINK, vocab.REVISE, vocab.WRONG, vocab.OK, vocab.STEP]] = _WRITTEN
_SECTION[vocab.END_CALL] = _RETURNED
_SECTION[vocab.END_THINK] = _ANSWER

_NO_GRAMMAR = np.zeros((1, vocab.VOCAB_SIZE), dtype=np.uint8)

# Fields of a frame's memory: what the scan must know of the tokens before.
STATE = 0  # grammar state
PROMPTED = 1  # whether the prompt's "=" has been read
_IS_ROOT = 2  # whether this is the frame of a problem
_CURRENT_SECTION = 3
_SECTION_START = 4  # position of the token that opened the section
_DIGITS = 5  # digits so far of the number that is being read; 0 outside numbers
_COMPARISONS = 6  # comparison signs so far of the run that is being written; 0 outside
_NUMBERS = 7  # numbers so far, in the whole frame
_NUMBERS_BEFORE = 8  # numbers before the expression or answer that is being read
_CALLS = 9  # calls that have returned
_QUOTIENT_LENGTH = 10  # digits before the R of the answer that was returned last
_REMAINDER_LENGTH = 11  # digits after its R
_AFTER_R = 12  # whether its R has been read
_OWN_R = 13  # whether the R of the frame's own answer has been read
_FIRST_LENGTH = 14  # digits of the number that a child's prompt begins with
_OPERATOR = 15  # the token after it
_DROPS_UNITS = 16  # the operator of a child's problem that is solved by parts without the units of a number, or 0
MEMORY = 17


class Scan(NamedTuple):
    """What the scan computes: six int32 arrays of the same shape.

    Attributes:
        place: Significance or column, from 0.
        role: Which number, answer or kind of written digit, below ``NUM_ROLES``.
        offset: Tokens since the marker that began the section, from 0. An expression that is copied into a call has the
            offsets of its source.
        state: Grammar state after the token.
        column: The place, or one less where the units of a number have column 0. After a number that was returned to a
            product or quotient, the column after its last digit.
        column_role: The role, except that this token has the role of the number whose end it marks.
    """

    place: npt.NDArray[np.int32]
    role: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int32]
    state: npt.NDArray[np.int32]
    column: npt.NDArray[np.int32]
    column_role: npt.NDArray[np.int32]


NUM_SCANNED = len(Scan._fields)
"""Rows that the scan writes."""


def scan_batch(tokens: npt.NDArray[np.uint8], successor: npt.NDArray[np.uint8] = _NO_GRAMMAR) -> Scan:
    """Scans whole frames.

    Args:
        tokens: ``[B, T]``, padded with 0.
        successor: ``[NUM_STATES, VOCAB_SIZE]`` next state of the grammar; by default all states are 0.

    Returns:
        Six arrays ``[B, T]``.
    """
    batch, length = tokens.shape
    start = np.arange(batch, dtype=np.int64) * length
    memory = np.zeros((batch, MEMORY), dtype=np.int32)
    out = np.empty((NUM_SCANNED, batch * length), dtype=np.int32)

    flat = np.ascontiguousarray(tokens).reshape(-1)
    zero = np.zeros(batch, dtype=np.int64)
    scan_frames(flat, start, zero, zero + length, zero, start, memory, successor, out)
    return Scan(*out.reshape(NUM_SCANNED, batch, length))


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
    """Scans, or continues to scan, B frames.

    Args:
        tokens: ``[M]`` tokens of the frames, one frame after the other.
        start: ``[B]`` index in ``tokens`` of each frame's first token.
        first: ``[B]`` position in its frame of the first token to read: 0, or where the last scan stopped. A frame
            whose prompt is not complete must be scanned from 0 again.
        stop: ``[B]`` position after the last token to read.
        wanted: ``[B]`` position of the first token whose result is written.
        target: ``[B]`` where in ``out`` the result of that token goes.
        memory: ``[B, MEMORY]`` state of each scan, read unless ``first`` is 0, and written.
        successor: ``[NUM_STATES, VOCAB_SIZE]`` next state of the grammar.
        out: ``[NUM_SCANNED, ...]`` the fields of ``Scan``, written.
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


@inlined
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
    """Scans, or continues to scan, one frame.

    Args:
        tokens: Tokens of the frame, from its first one on; others may follow.
        first: Position of the first token to read: 0, or where the last scan stopped.
        stop: Position after the last token to read.
        wanted: Position of the first token whose result is written.
        target: Where in ``out`` the result of that token goes.
        memory: ``[MEMORY]`` state of the scan, read unless ``first`` is 0, and written.
        successor: ``[NUM_STATES, VOCAB_SIZE]`` next state of the grammar.
        out: ``[NUM_SCANNED, ...]`` the fields of ``Scan``, written.
    """
    if first == 0:
        memory[:] = 0
        memory[_IS_ROOT] = tokens[0] == vocab.PROBLEM

    for position in range(first, stop):
        _scan_token(tokens[position], position, wanted, target - wanted, memory, successor, out)

    # The prompt may stop within a number, which ends here for now.
    if memory[_IS_ROOT] and not memory[PROMPTED]:
        _count_down(stop, memory[_DIGITS], wanted, target - wanted, out)


@inlined
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
    # The memory before this token, then after it.
    in_prompt = not memory[PROMPTED]
    was_returned = memory[_CURRENT_SECTION] == _RETURNED
    digits_before = memory[_DIGITS]
    _update_memory(token, position, memory, successor)
    section = memory[_CURRENT_SECTION]
    digits = memory[_DIGITS]
    is_root = memory[_IS_ROOT]

    role = _role(memory)

    # Place: how many digits of the number have been read. Where the units come first, that is the significance.
    place = digits
    if section == _WRITTEN and digits:
        place = digits // 2 + 1  # a carry stands in the next column, where it is needed
    elif memory[_COMPARISONS]:
        place = memory[_COMPARISONS] + 1  # like a carry, it is needed where the next column is read
    elif token == vocab.THINK or token == vocab.REVISE:
        place = 1  # thinking begins in the first column; every other opening token has place 0, below the units
    if is_root and section == _ANSWER and token != vocab.PAD:
        place = _answer_place(memory)

    # In a prompt, the token next to a number's most significant digit gets the place after that digit (and in a root,
    # where it comes first, the role of the number). A model that copies the number digit by digit then finds a token
    # that says that the number has ended. Otherwise the end would be the absence of a digit, which attention sees
    # badly, and copying would stop at the demonstrated length.
    if in_prompt and not digits and digits_before and not is_root:
        place = digits_before + 1  # a child's numbers have their units first
    if in_prompt and not digits and is_root:
        _count_down(position, digits_before, wanted, shift, out)
    if in_prompt and digits == 1 and is_root and position > wanted:
        out[1, position - 1 + shift] = role
        out[5, position - 1 + shift] = role

    if position >= wanted:
        out[0, position + shift] = place
        out[1, position + shift] = role
        out[2, position + shift] = position - memory[_SECTION_START]
        out[3, position + shift] = memory[STATE]
        out[4, position + shift] = place - _counts_from_zero(memory)
        out[5, position + shift] = role
        if was_returned and digits_before:
            _end_returned(token, digits_before, position + shift, memory, out)

    if in_prompt and not digits and digits_before and not is_root:
        _end_number(token, position, digits_before, wanted, shift, memory, out)


@inlined
def _update_memory(token: int, position: int, memory: npt.NDArray[np.int32], successor: npt.NDArray[np.uint8]) -> None:
    """Updates the memory of a frame with its next token."""
    memory[STATE] = successor[memory[STATE], token]
    if token == vocab.EQUALS:
        memory[PROMPTED] = 1

    opens = _SECTION[token]
    if opens:
        memory[_CURRENT_SECTION] = opens
        memory[_SECTION_START] = position
    if opens == _PROMPT or opens == _ANSWER:
        memory[_NUMBERS_BEFORE] = memory[_NUMBERS]
    section = memory[_CURRENT_SECTION]

    if vocab.ZERO <= token <= vocab.NINE:
        memory[_DIGITS] += 1
        memory[_NUMBERS] += memory[_DIGITS] == 1
    else:
        memory[_DIGITS] = 0

    if section == _WRITTEN and vocab.LESS <= token <= vocab.SAME:
        memory[_COMPARISONS] += 1
    else:
        memory[_COMPARISONS] = 0

    # Lengths of the quotient and of the remainder that were returned last: a root's answer has the same.
    if token == vocab.END_CALL:
        memory[_CALLS] += 1
        memory[_QUOTIENT_LENGTH : _AFTER_R + 1] = 0
    elif section == _RETURNED and token == vocab.REMAINDER:
        memory[_AFTER_R] = 1
    elif section == _RETURNED and memory[_DIGITS]:
        memory[_QUOTIENT_LENGTH + memory[_AFTER_R]] += 1
    elif section == _ANSWER and token == vocab.REMAINDER:
        memory[_OWN_R] = 1


@inlined
def _role(memory: npt.NDArray[np.int32]) -> int:
    """Returns the role of the token that was read last."""
    # A returned answer has the role of its call.
    section = memory[_CURRENT_SECTION]
    if section == _RETURNED:
        return int(_RETURNED_ROLE + min(memory[_CALLS], _MOST_CALLS))
    # Digits of a thought alternate between result and carry.
    if section == _WRITTEN and memory[_DIGITS]:
        return int(_DIGIT_ROLE + (memory[_DIGITS] - 1) % 2)
    # Numbers are counted within an expression or answer.
    return int(min(memory[_NUMBERS] - memory[_NUMBERS_BEFORE], _LAST_NUMBER_ROLE))


@inlined
def _counts_from_zero(memory: npt.NDArray[np.int32]) -> bool:
    """Returns whether the units of the number that is being read have column 0."""
    operator = memory[_DROPS_UNITS]
    if not operator or not memory[_DIGITS]:
        return False
    # The answer is what the parts have made, after its own units. A remainder is copied whole.
    section = memory[_CURRENT_SECTION]
    if section == _ANSWER:
        return bool(memory[_OWN_R] == 0)
    number = memory[_NUMBERS] - memory[_NUMBERS_BEFORE]
    calls = memory[_CALLS]
    # a * b: the first part is a product by the units of b, whose own units are dropped before it is added.
    if operator == vocab.TIMES:
        is_units_of_b = section == _PROMPT and calls == 0 and number == 2
        return bool(is_units_of_b or (section == _RETURNED and _returned_from_zero(memory)))
    # a / b: the last digit is that of the first remainder with the units of a before it.
    return bool(section == _PROMPT and calls == 1 and number == 1)


@inlined
def _returned_from_zero(memory: npt.NDArray[np.int32]) -> bool:
    """Returns whether the last returned answer counts its columns from 0: the first part of a product does."""
    return bool(memory[_DROPS_UNITS] == vocab.TIMES and memory[_CALLS] == 1)


@inlined
def _end_returned(
    token: int, length: int, index: int, memory: npt.NDArray[np.int32], out: npt.NDArray[np.int32]
) -> None:
    """Marks the end of a number that a part of a product or quotient has returned, as a prompt's numbers are marked.

    Such a number is copied. A model that has copied its last digit looks for the next column in the same role, and
    finds the end there.

    Args:
        token: The token after the number. Only ``R`` and ``;`` mark its end: other tokens open a section, and what
            follows them begins in the first column.
        length: Digits of the number.
        index: Of the token in ``out``.
        memory: The frame's memory after the token.
        out: ``[NUM_SCANNED, ...]`` the fields of ``Scan``.
    """
    if memory[_DROPS_UNITS] and (token == vocab.STEP or token == vocab.REMAINDER):
        out[4, index] = length + 1 - _returned_from_zero(memory)
        out[5, index] = _RETURNED_ROLE + min(memory[_CALLS], _MOST_CALLS)


@inlined
def _end_number(
    token: int,
    position: int,
    length: int,
    wanted: int,
    shift: int,
    memory: npt.NDArray[np.int32],
    out: npt.NDArray[np.int32],
) -> None:
    """Notes that a number of a child's prompt has ended. After ``a * b =`` and ``a / b =`` it moves columns.

    Args:
        token: The token after the number.
        position: Its position.
        length: Digits of the number.
        wanted: Position of the first token whose result is written.
        shift: From positions to indices in ``out``.
        memory: The frame's memory.
        out: ``[NUM_SCANNED, ...]`` the fields of ``Scan``.
    """
    # After <subtask> and the digits.
    if position == length + 1:
        memory[_FIRST_LENGTH] = length
        memory[_OPERATOR] = token
    first = memory[_FIRST_LENGTH]
    if token != vocab.EQUALS or position != first + length + 2:
        return

    # A longer dividend loses its units, and so does a second factor of several digits that is not the longer one.
    start = 0
    if memory[_OPERATOR] == vocab.DIVIDE and first > length:
        start = 1
        length = first
    elif memory[_OPERATOR] == vocab.TIMES and 1 < length <= first:
        start = first + 2
    if start:
        memory[_DROPS_UNITS] = memory[_OPERATOR]
        # The token after the number is its end.
        for index in range(max(start, wanted), start + length + 1):
            out[4, index + shift] -= 1


@inlined
def _answer_place(memory: npt.NDArray[np.int32]) -> int:
    """Returns the place of a token of a root's answer, which is written as people do: the units last.

    If 3 digits were returned, the digits have places 3, 2 and 1, and other tokens place 4.
    """
    length = int(memory[_QUOTIENT_LENGTH + memory[_OWN_R]])
    digits = int(memory[_DIGITS])
    return max(length - digits + 1, 0) if digits else length + 1


@inlined
def _count_down(stop: int, digits: int, wanted: int, shift: int, out: npt.NDArray[np.int32]) -> None:
    """Writes the places of a root's number of some digits that ends before ``stop``, and of the token before it.

    For the number in ``+ 9 8 =``, it writes 3 at ``+``, 2 at ``9`` and 1 at ``8``. In a root, columns are places.
    """
    if digits:
        for position in range(max(stop - digits - 1, wanted, 0), stop):
            out[0, position + shift] = stop - position
            out[4, position + shift] = stop - position
