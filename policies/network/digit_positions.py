"""Where a token stands: its place, role and offset, computed from the tokens before it.

The transformer has no positions of its own. What it knows beyond the causal mask is, for each token, a *place* (the
significance of a digit within its number, or the column that a thought is about), a *role* (which number of an
expression, which returned answer, digit or carry) and, where it is configured to, an *offset* (how far the token is
behind the marker that began its expression, thought or answer). All are input features, like the column a pupil writes
a digit in; what to write there is the model's business. Places after Abacus embeddings (McLeish et al. 2024) and
position coupling (Cho et al. 2024).

Shapes: B frames, T tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch as th

from o1nano.envs.language import vocab

NUM_ROLES = 32
_MAX_EXPRESSION_ROLE = 13  # numbers of an expression, counted from 1
_DIGIT_ROLE = 14  # 15 is the carry
_PROMPT_TAIL = 256
_RETURNED_ROLE = 16  # plus the number of calls so far, at most 15

_PROMPT, _WRITTEN, _RETURNED, _ANSWER = 1, 2, 3, 4
_SECTION = th.zeros(vocab.VOCAB_SIZE, dtype=th.long)
_SECTION[[vocab.PROBLEM, vocab.SUBTASK, vocab.CALL, vocab.GOTO]] = _PROMPT
_SECTION[[vocab.THINK, vocab.REVISE, vocab.WRONG, vocab.OK, vocab.STEP]] = _WRITTEN
_SECTION[vocab.END_CALL] = _RETURNED
_SECTION[vocab.END_THINK] = _ANSWER


class Coordinates(NamedTuple):
    """Where tokens stand; three tensors of the same shape.

    Attributes:
        place: Significance or column, from 0.
        role: Which number, answer or kind of written digit, below ``NUM_ROLES``.
        offset: Tokens since the last marker, from 0: an expression that is handed on runs parallel to its source.
    """

    place: th.Tensor
    role: th.Tensor
    offset: th.Tensor


def coordinates(tokens: th.Tensor) -> Coordinates:
    """Computes the coordinates of every token.

    Args:
        tokens: ``[B, T]`` long, padded with 0. The prompt must be complete; behind it nothing looks ahead.

    Returns:
        ``[B, T]`` each.
    """
    time = th.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    digit = (tokens >= vocab.ZERO) & (tokens <= vocab.NINE)
    begins = _begins(digit)
    in_run = time - (time * begins).cummax(1).values  # index of a digit within its number

    marked = _SECTION.to(tokens.device)[tokens]
    marker = (time * (marked > 0)).cummax(1).values
    section = marked.gather(1, marker)
    written = (section == _WRITTEN) & digit

    place = th.where(written, (in_run + 1) // 2 + 1, in_run + 1) * digit
    # Comparing, one verdict a column: like a carry, a verdict stands where the next column is read.
    verdict = (tokens >= vocab.LESS) & (tokens <= vocab.SAME) & (section == _WRITTEN)
    place = th.where(verdict, time - (time * _begins(verdict)).cummax(1).values + 2, place)
    # Thinking begins in the first column; every other opening token stands just below the units.
    place[(tokens == vocab.THINK) | (tokens == vocab.REVISE)] = 1

    numbers = begins.long().cumsum(1)
    opened = (numbers * ((marked == _PROMPT) | (marked == _ANSWER))).cummax(1).values
    role = (numbers - opened).clamp(max=_MAX_EXPRESSION_ROLE)
    role = th.where(written, _DIGIT_ROLE + in_run % 2, role)
    calls = (tokens == vocab.END_CALL).long().cumsum(1).clamp(max=NUM_ROLES - 1 - _RETURNED_ROLE)
    role = th.where(section == _RETURNED, _RETURNED_ROLE + calls, role)

    root = tokens[:, 0] == vocab.PROBLEM
    if bool(root.any()):
        place[root] = _root_places(tokens[root], place[root], time[root], digit[root], in_run[root], section[root])
    _mark_ends(tokens, place, role, digit, begins, root[:, None])
    return Coordinates(place, role, time - marker)


def further_coordinates(tokens: th.Tensor, known: th.Tensor, prompt: int) -> th.Tensor:
    """Computes the coordinates of further tokens of a long frame without going through all of it again.

    Thinking knows of the prompt only how many numbers it has, up to the number from which all have the same role: the
    last tokens of a long prompt stand for all of them.

    Args:
        tokens: ``[1, T]``.
        known: ``[3, t]`` coordinates of the first t tokens, with t above ``prompt``.
        prompt: Index of the prompt's ``=``.

    Returns:
        ``[3, T]``, those of ``coordinates``.
    """
    short = th.cat((tokens[:, :1], tokens[:, max(prompt - _PROMPT_TAIL, 1) :]), 1)
    tail = short[:, 1 : _PROMPT_TAIL + 1]
    if _begins((tail >= vocab.ZERO) & (tail <= vocab.NINE)).sum() <= _MAX_EXPRESSION_ROLE:
        short = tokens
    fresh = th.cat(coordinates(short))[:, known.shape[1] - tokens.shape[1] :]
    return th.cat((known, fresh), 1)


def _mark_ends(
    tokens: th.Tensor, place: th.Tensor, role: th.Tensor, digit: th.Tensor, begins: th.Tensor, root: th.Tensor
) -> None:
    """Has the token next to the last significant digit of a prompt's number stand in the place behind it, in place.

    Whoever copies the number digit by digit then finds something there that is no digit: the number has ended. Without
    this a number's end is the absence of a digit, which attention sees badly, and copying stops at the demonstrated
    length (dev/LOG.md). Children read numbers units first, so it is the token behind; roots, the token before.
    """
    prompt = (tokens == vocab.EQUALS).cumsum(1) == 0
    behind = ~digit[:, 1:] & digit[:, :-1] & prompt[:, :-1] & ~root
    place[:, 1:] = th.where(behind, place[:, :-1] + 1, place[:, 1:])
    before = begins[:, 1:] & prompt[:, 1:] & root
    place[:, :-1] = th.where(before, place[:, 1:] + 1, place[:, :-1])
    role[:, :-1] = th.where(before, role[:, 1:], role[:, :-1])


def _begins(inside: th.Tensor) -> th.Tensor:
    """Marks where runs begin."""
    begins = inside.clone()
    begins[:, 1:] &= ~inside[:, :-1]
    return begins


def _root_places(
    tokens: th.Tensor, place: th.Tensor, time: th.Tensor, digit: th.Tensor, in_run: th.Tensor, section: th.Tensor
) -> th.Tensor:
    """Root frames write numbers most significant digit first: places count down, in the prompt and in the answer.

    In the answer they count down from the length of the number that was returned last.
    """
    last = tokens.shape[1] - 1
    not_digit = th.where(digit, last + 1, time)
    run_end = not_digit.flip(1).cummin(1).values.flip(1)  # first index behind the number
    prompt = (section == _PROMPT) & ((tokens == vocab.EQUALS).cumsum(1) == 0)
    place = th.where(prompt & digit, run_end - time, place)

    answer = section == _ANSWER
    returned_at = (time * (tokens == vocab.END_CALL)).cummax(1).values.max(1, keepdim=True).values
    returned = (section == _RETURNED) & (time > returned_at)
    after_r = ((tokens == vocab.REMAINDER) & (time > returned_at)).cumsum(1) > 0
    quotient = (returned & digit & ~after_r).sum(1, keepdim=True)
    remainder = (returned & digit & after_r).sum(1, keepdim=True)
    second = ((tokens == vocab.REMAINDER) & answer).cumsum(1) > 0
    length = th.where(second, remainder, quotient)
    down = th.where(digit, length - in_run, length + 1).clamp(min=0)
    return th.where(answer & (tokens != vocab.PAD), down, place)
