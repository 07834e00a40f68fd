"""The model checks an answer by the inverse operation and by casting out nines, both of which it computes itself.

Every step is a problem that the model solves in frames of its own. The code here only compares numbers that the model
has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.problem import Problem

Ask = Callable[[list[Binary]], list[int | None]]
"""Has the model compute ``left op right`` for each expression; None if it gave no whole number."""

_RESULT = re.compile(r"(?P<result>-?\d+)( R (?P<rest>\d+))?", re.ASCII)


class Claim(NamedTuple):
    """The statement ``left op right = result``; ``rest`` is the remainder of a division."""

    op: int
    left: int
    right: int
    result: int
    rest: int = 0


def read_number(text: str) -> int | None:
    """Returns the whole number that an answer is, or None."""
    found = _RESULT.fullmatch(text)
    return int(found["result"]) if found is not None and found["rest"] is None else None


def read_claim(problem: Problem, text: str) -> Claim | None:
    """Returns what an answer claims, or None if there is nothing to check.

    Only one operation on two numbers can be checked. A remainder that is not below the divisor is no claim: the
    equation ``q * b + r = a`` would hold for it too.
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


def inverse_holds(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Returns for each claim whether the inverse operation leads back to the operands."""
    results = ask([_inverse(claim) for claim in claims])

    # Quotient times divisor still lacks the remainder.
    divisions = [index for index, claim in enumerate(claims) if claim.op == DIVIDE]
    totals = ask([Binary(PLUS, results[index] or 0, claims[index].rest) for index in divisions])
    for index, total in zip(divisions, totals, strict=True):
        results[index] = total
    return [result == _expected(claim) for claim, result in zip(claims, results, strict=True)]


def _inverse(claim: Claim) -> Binary:
    if claim.op == PLUS:
        return Binary(MINUS, claim.result, claim.right)
    if claim.op == MINUS:
        negative = claim.result < 0
        return Binary(PLUS, -claim.result, claim.left) if negative else Binary(PLUS, claim.result, claim.right)
    if claim.op == DIVIDE:
        return Binary(TIMES, claim.result, claim.right)
    return Binary(DIVIDE, claim.result, claim.right) if claim.right else Binary(PLUS, claim.result, 0)


def _expected(claim: Claim) -> int:
    if claim.op == MINUS and claim.result < 0:
        return claim.right
    return 0 if claim.op == TIMES and not claim.right else claim.left


def nines_hold(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Returns for each claim whether it holds for digit sums modulo nine; about one wrong answer in nine passes.

    ``a - b = c`` is tested as ``c + b = a``, and ``a / b = q R r`` as ``q * b + r = a``.
    """
    numbers = [number for claim in claims for number in (claim.left, claim.right, claim.result, claim.rest)]
    residues = iter(_residues(numbers, ask))
    sides = [_sides(claim, *islice(residues, 4)) for claim in claims]

    products = ask([Binary(TIMES, side.a, side.b) for side in sides])
    sums = ask([Binary(PLUS, product or 0, side.rest) for product, side in zip(products, sides, strict=True)])
    roots = digital_roots([total or 0 for total in sums], ask)
    return [root % 9 == side.whole % 9 for root, side in zip(roots, sides, strict=True)]


class _Sides(NamedTuple):
    """What a claim says of digit sums: ``a * b + rest = whole``."""

    a: int
    b: int
    rest: int
    whole: int


def _sides(claim: Claim, left: int, right: int, result: int, rest: int) -> _Sides:
    if claim.op == PLUS:
        return _Sides(left, 1, right, result)
    if claim.op == MINUS:
        return _Sides(result, 1, right, left)
    if claim.op == TIMES:
        return _Sides(left, right, 0, result)
    return _Sides(result, right, rest, left)


def _residues(numbers: Sequence[int], ask: Ask) -> list[int]:
    """Returns the digital roots of numbers, 0 to 9; of a negative number, nine minus that of its absolute value."""
    roots = digital_roots([abs(number) for number in numbers], ask)
    negative = [index for index, number in enumerate(numbers) if number < 0]
    differences = ask([Binary(MINUS, 9, roots[index]) for index in negative])
    for index, difference in zip(negative, differences, strict=True):
        roots[index] = difference or 0
    return roots


def digital_roots(numbers: Sequence[int], ask: Ask) -> list[int]:
    """Returns the repeated digit sums of numbers.

    In every round the model adds neighbouring digits in pairs, for all numbers at once.
    """
    rows = [[int(digit) for digit in str(number)] for number in numbers]
    while any(len(row) > 1 for row in rows):
        pairs = [(index, Binary(PLUS, a, b)) for index, row in enumerate(rows) for a, b in zip(row[::2], row[1::2])]  # noqa: B905
        sums = ask([pair for _, pair in pairs])
        left_over = [row[-1:] if len(row) % 2 else [] for row in rows]
        rows = [[] for _ in rows]
        for (index, _), total in zip(pairs, sums, strict=True):
            rows[index] += _digits(total)
        for row, digit in zip(rows, left_over, strict=True):
            row += digit
    return [row[0] if row else 0 for row in rows]


def _digits(total: int | None) -> list[int]:
    """The digits of a sum that the model gave; none if it gave no number."""
    return [] if total is None else [int(digit) for digit in str(abs(total))]
