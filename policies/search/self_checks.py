"""The model checks an answer by means that it computes itself: the inverse operation, and casting out nines.

Every step is a problem that the model solves, in frames of its own. All that is done here is to compare numbers that it
has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.problem import Problem

Ask = Callable[[list[str]], list[str]]
"""Answers problems such as ``"98+45"``; an empty answer is none."""

_RESULT = re.compile(r"(?P<result>-?\d+)( R (?P<rest>\d+))?", re.ASCII)


class Claim(NamedTuple):
    """``left op right = result``, with ``rest`` the remainder of a division."""

    op: int
    left: int
    right: int
    result: int
    rest: int = 0


def is_number(text: str) -> bool:
    """Tells whether an answer is a whole number."""
    found = _RESULT.fullmatch(text)
    return found is not None and found["rest"] is None


def claim(problem: Problem, text: str) -> Claim | None:
    """Returns what an answer claims; None where there is nothing to check: no number, or no single operation.

    Nor is there with a remainder that the divisor still goes into: ``q * b + r = a`` holds of every one of those.
    """
    task = problem.expr
    if not (isinstance(task, Binary) and isinstance(task.left, int) and isinstance(task.right, int)):
        return None
    found = _RESULT.fullmatch(text)
    if found is None or (found["rest"] and task.op != DIVIDE):
        return None
    rest = int(found["rest"] or 0)
    if rest and rest >= abs(task.right):
        return None
    return Claim(task.op, task.left, task.right, int(found["result"]), rest)


def inverse(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Tells of each claim whether the inverse operation leads back to what was given."""
    forward = ask([f"{c.result}*{c.right}" if c.op == DIVIDE else _inverse(c) for c in claims])
    # A quotient times the divisor still lacks the remainder.
    divisions = [index for index, c in enumerate(claims) if c.op == DIVIDE]
    sums = ask([f"{forward[index] or 0}+{claims[index].rest}" for index in divisions])
    for index, total in zip(divisions, sums, strict=True):
        forward[index] = total
    return [got == _expected(c) for got, c in zip(forward, claims, strict=True)]


def _inverse(c: Claim) -> str:
    if c.op == PLUS:
        return f"{c.result}-{c.right}"
    if c.op == MINUS:
        return f"{c.result}+{c.right}" if c.result >= 0 else f"{-c.result}+{c.left}"
    return f"{c.result}/{c.right}" if c.right else f"{c.result}+0"


def _expected(c: Claim) -> str:
    if c.op == MINUS and c.result < 0:
        return str(c.right)
    return "0" if c.op == TIMES and not c.right else str(c.left)


def casting_out_nines(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Tells of each claim whether it holds for digit sums: of nine wrong answers it lets about one pass.

    ``a - b = c`` is tested as ``c + b = a``, and ``a / b = q R r`` as ``q * b + r = a``.
    """
    residues = iter(_residues([number for c in claims for number in (c.left, c.right, c.result, c.rest)], ask))
    sides = [_sides(c, *islice(residues, 4)) for c in claims]
    products = ask([f"{a}*{b}" for a, b, _, _ in sides])
    sums = ask([f"{product or 0}+{rest}" for product, (_, _, rest, _) in zip(products, sides, strict=True)])
    totals = digital_roots([int(total or 0) for total in sums], ask)
    return [total % 9 == whole % 9 for total, (_, _, _, whole) in zip(totals, sides, strict=True)]


def _sides(c: Claim, left: int, right: int, result: int, rest: int) -> tuple[int, int, int, int]:
    """Returns (a, b, rest, whole) such that ``a * b + rest = whole`` is what a claim says of digit sums."""
    if c.op == PLUS:
        return left, 1, right, result
    if c.op == MINUS:
        return result, 1, right, left
    return (left, right, 0, result) if c.op == TIMES else (result, right, rest, left)


def _residues(numbers: Sequence[int], ask: Ask) -> list[int]:
    """Returns what numbers leave when nines are cast out, 0 to 9: of a negative one, what its digit sum lacks of 9."""
    roots = digital_roots([abs(number) for number in numbers], ask)
    negative = [index for index, number in enumerate(numbers) if number < 0]
    for index, lack in zip(negative, ask([f"9-{roots[index]}" for index in negative]), strict=True):
        roots[index] = int(lack or 0)
    return roots


def digital_roots(numbers: Sequence[int], ask: Ask) -> list[int]:
    """Returns the repeated digit sums of numbers; the model adds digits in pairs, those of all numbers at a time."""
    digits = [[int(digit) for digit in str(number)] for number in numbers]
    while any(len(row) > 1 for row in digits):
        pairs = [(at, f"{a}+{b}") for at, row in enumerate(digits) for a, b in zip(row[::2], row[1::2], strict=False)]
        sums = zip((at for at, _ in pairs), ask([pair for _, pair in pairs]), strict=True)
        odd = [row[-1:] if len(row) % 2 else [] for row in digits]
        digits = [[] for _ in digits]
        for at, group in groupby(sums, key=lambda pair: pair[0]):
            digits[at] = [int(digit) for _, total in group for digit in total.lstrip("-")]
        digits = [row + last for row, last in zip(digits, odd, strict=True)]
    return [row[0] if row else 0 for row in digits]
