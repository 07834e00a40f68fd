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

_MAX_DIGIT_SUM = 18  # of two digits
_RESULT = re.compile(r"(?P<result>-?\d+)( R (?P<rest>-?\d+))?", re.ASCII)


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
    if rest and abs(rest) >= abs(task.right):
        return None
    return Claim(task.op, task.left, task.right, int(found["result"]), rest)


def inverse_holds(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Returns for each claim whether the inverse operation leads back to the operands."""
    results = ask([_inverse(claim) for claim in claims])

    # Quotient times divisor still lacks the remainder.
    divisions = [index for index, claim in enumerate(claims) if claim.op == DIVIDE]
    totals = _ask_where_known(ask, [_plus(results[index], claims[index].rest) for index in divisions])
    for index, total in zip(divisions, totals, strict=True):
        results[index] = total
    return [result == _expected(claim) for claim, result in zip(claims, results, strict=True)]


def _plus(left: int | None, right: int | None) -> Binary | None:
    """Returns ``left + right``, or None if a number is missing because the model gave none."""
    return None if left is None or right is None else Binary(PLUS, left, right)


def _ask_where_known(ask: Ask, expressions: Sequence[Binary | None]) -> list[int | None]:
    """Has the model compute the expressions that are known; the others have no result."""
    results = iter(ask([expression for expression in expressions if expression is not None]))
    return [None if expression is None else next(results) for expression in expressions]


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

    ``a - b = c`` is tested as ``c + b = a``, and ``a / b = q R r`` as ``q * b + r = a``. A claim fails if the model
    leaves one of the steps without a number.
    """
    numbers = [number for claim in claims for number in (claim.left, claim.right, claim.result, claim.rest)]
    residues = iter(_residues(numbers, ask))
    sides = [_sides(claim, *islice(residues, 4)) for claim in claims]

    factors = [None if a is None or b is None else Binary(TIMES, a, b) for a, b, _, _ in sides]
    products = _ask_where_known(ask, factors)
    sums = [_plus(product, rest) for product, (_, _, rest, _) in zip(products, sides, strict=True)]
    roots = digital_roots(_ask_where_known(ask, sums), ask)
    return [_agree(root, whole) for root, (_, _, _, whole) in zip(roots, sides, strict=True)]


def _agree(root: int | None, whole: int | None) -> bool:
    return root is not None and whole is not None and root % 9 == whole % 9


_Residue = int | None


def _sides(
    claim: Claim, left: _Residue, right: _Residue, result: _Residue, rest: _Residue
) -> tuple[_Residue, _Residue, _Residue, _Residue]:
    """Returns (a, b, rest, whole): a claim says of digit sums that ``a * b + rest = whole``."""
    if claim.op == PLUS:
        return left, 1, right, result
    if claim.op == MINUS:
        return result, 1, right, left
    if claim.op == TIMES:
        return left, right, 0, result
    return result, right, rest, left


def _residues(numbers: Sequence[int], ask: Ask) -> list[int | None]:
    """Returns the digital roots of numbers, 0 to 9; of a negative number, nine minus that of its absolute value."""
    roots = digital_roots([abs(number) for number in numbers], ask)
    negative = [index for index, number in enumerate(numbers) if number < 0]
    complements = [_nine_minus(roots[index]) for index in negative]
    for index, difference in zip(negative, _ask_where_known(ask, complements), strict=True):
        roots[index] = difference
    return roots


def _nine_minus(root: int | None) -> Binary | None:
    return None if root is None else Binary(MINUS, 9, root)


def digital_roots(numbers: Sequence[int | None], ask: Ask) -> list[int | None]:
    """Returns the repeated digit sums of numbers; None for None, and where the model does not give one.

    In every round the model adds neighbouring digits in pairs, for all numbers at once: 987 becomes 17 and 7, these
    become 8 and 7, 15, and 6. A model that adds wrongly would never end some numbers: they have no root after twice as
    many rounds as they have digits, which is more than right sums take.
    """
    rows = [_digits(number) for number in numbers]
    rounds = 2 * max(map(len, rows), default=0)
    for _ in range(rounds):
        if all(len(row) < 2 for row in rows):
            break
        rows = _add_pairs(rows, ask)
    return [row[0] if len(row) == 1 else None for row in rows]


def _add_pairs(rows: list[list[int]], ask: Ask) -> list[list[int]]:
    """Replaces pairs of digits by the digits of their sums; a row with a sum that is impossible becomes empty."""
    owners: list[int] = []
    pairs: list[Binary] = []
    for index, row in enumerate(rows):
        for at in range(0, len(row) - 1, 2):
            owners.append(index)
            pairs.append(Binary(PLUS, row[at], row[at + 1]))

    summed: list[list[int]] = [[] for _ in rows]
    failed: set[int] = set()
    for index, total in zip(owners, ask(pairs), strict=True):
        if total is None or not 0 <= total <= _MAX_DIGIT_SUM:
            failed.add(index)
        summed[index] += _digits(total)

    for index, row in enumerate(rows):
        if index in failed:
            summed[index] = []
        elif len(row) % 2:
            # The last digit has no partner.
            summed[index].append(row[-1])
    return summed


def _digits(number: int | None) -> list[int]:
    return [] if number is None else [int(digit) for digit in str(abs(number))]
