"""The model checks an answer by casting out nines and by the inverse operation, both of which it computes itself.

Every step is a problem that the model solves in frames of its own. The code here only compares numbers that the model
has written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.problem import Problem

Ask = Callable[[list[Binary]], list[int | None]]
"""Has the model compute ``left op right`` for each expression; None if it gave no whole number."""

_TWO_DIGITS = 99  # the largest number of two digits
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


def is_checkable(problem: Problem) -> bool:
    """Returns whether answers to a problem can be checked: only those to one operation on two numbers can."""
    # That depends on the problem only: any number will do.
    return read_claim(problem, "0") is not None


def read_claim(problem: Problem, text: str) -> Claim | None:
    """Returns what an answer claims, or None if there is nothing to check.

    A remainder that is not below the divisor is no claim: the equation ``q * b + r = a`` would hold for it too.
    """
    task = problem.expr
    if not (isinstance(task, Binary) and isinstance(task.left, int) and isinstance(task.right, int)):
        return None

    # Only a division has a remainder.
    found = _RESULT.fullmatch(text)
    if found is None or (found["rest"] and task.op != DIVIDE):
        return None
    rest = int(found["rest"] or 0)
    if rest and abs(rest) >= abs(task.right):
        return None
    return Claim(task.op, task.left, task.right, int(found["result"]), rest)


def second_check_holds(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Returns for each claim, after casting out nines, whether the check holds that is best for its operation.

    The inverse of a product is a division, which is harder than the product itself: a model that half knows products
    of 7 digits divides none of them back. Ninety-nines are cast out of them instead. Where both factors have one or two
    digits that would be the same product again, and the division is short.
    """
    by_group = []
    by_inverse = []
    for index, claim in enumerate(claims):
        if claim.op == TIMES and max(abs(claim.left), abs(claim.right)) > _TWO_DIGITS:
            by_group.append(index)
        else:
            by_inverse.append(index)

    holds = [False] * len(claims)
    for index, held in zip(by_group, nines_hold([claims[index] for index in by_group], ask, group=2), strict=True):
        holds[index] = held
    for index, held in zip(by_inverse, inverse_holds([claims[index] for index in by_inverse], ask), strict=True):
        holds[index] = held
    return holds


def inverse_holds(claims: Sequence[Claim], ask: Ask) -> list[bool]:
    """Returns for each claim whether the inverse operation leads back to the operands."""
    results = ask(list(map(_inverse, claims)))

    # Quotient times divisor still lacks the remainder.
    divisions = []
    sums = []
    for index, claim in enumerate(claims):
        if claim.op == DIVIDE:
            divisions.append(index)
            sums.append(_plus(results[index], claim.rest))
    for index, total in zip(divisions, _ask_where_known(ask, sums), strict=True):
        results[index] = total

    # A missing result is no number, so it equals none.
    return [result == _expected(claim) for claim, result in zip(claims, results, strict=True)]


def _plus(left: int | None, right: int | None) -> Binary | None:
    """Returns ``left + right``, or None if a number is missing because the model gave none."""
    return None if left is None or right is None else Binary(PLUS, left, right)


def _ask_where_known(ask: Ask, expressions: Sequence[Binary | None]) -> list[int | None]:
    """Has the model compute the expressions that are known; the others have no result."""
    known: dict[int, Binary] = {}
    for index, expression in enumerate(expressions):
        if expression is not None:
            known[index] = expression

    results: list[int | None] = [None] * len(expressions)
    for index, result in zip(known, ask(list(known.values())), strict=True):
        results[index] = result
    return results


def _inverse(claim: Claim) -> Binary:
    """Returns the calculation that leads back from the result of a claim, to ``_expected``."""
    if claim.op == PLUS:
        return Binary(MINUS, claim.result, claim.right)
    if claim.op == DIVIDE:
        return Binary(TIMES, claim.result, claim.right)
    if claim.op == MINUS:
        # 34 - 53 = -19 is checked as 19 + 34 = 53, so that the sum needs no negative operand.
        if claim.result < 0:
            return Binary(PLUS, -claim.result, claim.left)
        return Binary(PLUS, claim.result, claim.right)

    # A product with 0 cannot be divided by 0 again. It must be 0 itself.
    if claim.right == 0:
        return Binary(PLUS, claim.result, 0)
    return Binary(DIVIDE, claim.result, claim.right)


def _expected(claim: Claim) -> int:
    """Returns what ``_inverse`` comes to if the claim is right."""
    if claim.op == MINUS and claim.result < 0:
        return claim.right
    if claim.op == TIMES and claim.right == 0:
        return 0
    return claim.left


def nines_hold(claims: Sequence[Claim], ask: Ask, group: int = 1) -> list[bool]:
    """Returns for each claim whether it holds for digit sums modulo nine; about one wrong answer in nine passes.

    ``a - b = c`` is tested as ``c + b = a``, and ``a / b = q R r`` as ``q * b + r = a``. A claim fails if the model
    leaves one of the steps without a number.

    Args:
        claims: What to check.
        ask: Has the model compute.
        group: Digits that are added as one number. Groups of two cast out ninety-nines: the sums and the product are of
            two digits instead of one, and about one wrong answer in ninety-nine passes.
    """
    # The roots of all numbers of all claims, in one go: left, right, result, rest of the first claim, then the next.
    numbers: list[int] = []
    for claim in claims:
        numbers += [claim.left, claim.right, claim.result, claim.rest]
    residues = _residues(numbers, ask, group)
    equations = [_equation(claim, *residues[4 * index : 4 * index + 4]) for index, claim in enumerate(claims)]

    # a * b
    products = _ask_where_known(ask, [_times(equation.a, equation.b) for equation in equations])

    # a * b + rest, which can have two groups or more and so needs a digital root of its own.
    sums = [_plus(product, equation.rest) for product, equation in zip(products, equations, strict=True)]
    roots = digital_roots(_ask_where_known(ask, sums), ask, group)
    return [_agree(root, equation.whole, group) for root, equation in zip(roots, equations, strict=True)]


def _agree(root: int | None, whole: int | None, group: int) -> bool:
    # Digital roots 0 and 9 are the same residue.
    return root is not None and whole is not None and root % _largest(group) == whole % _largest(group)


def _largest(group: int) -> int:
    """Returns the largest number of a group of digits, 9 or 99. Digital roots are residues modulo it."""
    return int(10**group) - 1


def _times(left: int | None, right: int | None) -> Binary | None:
    """Returns ``left * right``, or None if a number is missing because the model gave none."""
    return None if left is None or right is None else Binary(TIMES, left, right)


class _Equation(NamedTuple):
    """A claim as ``a * b + rest = whole``, in digital roots; None where the model gave no number."""

    a: int | None
    b: int | None
    rest: int | None
    whole: int | None


def _equation(claim: Claim, left: int | None, right: int | None, result: int | None, rest: int | None) -> _Equation:
    """Returns the equation that a claim comes to, given the digital roots of its four numbers."""
    if claim.op == PLUS:
        return _Equation(left, 1, right, result)
    if claim.op == MINUS:
        return _Equation(result, 1, right, left)
    if claim.op == TIMES:
        return _Equation(left, right, 0, result)
    return _Equation(result, right, rest, left)


def _residues(numbers: Sequence[int], ask: Ask, group: int) -> list[int | None]:
    """Returns the digital roots of numbers, 0 to 9; of a negative number, nine minus that of its absolute value."""
    roots = digital_roots(list(map(abs, numbers)), ask, group)

    # Modulo nine, -n is 9 - n.
    negative = []
    complements = []
    for index, number in enumerate(numbers):
        if number < 0:
            negative.append(index)
            complements.append(_complement(roots[index], group))
    for index, difference in zip(negative, _ask_where_known(ask, complements), strict=True):
        roots[index] = difference
    return roots


def _complement(root: int | None, group: int) -> Binary | None:
    return None if root is None else Binary(MINUS, _largest(group), root)


def digital_roots(numbers: Sequence[int | None], ask: Ask, group: int = 1) -> list[int | None]:
    """Returns the repeated digit sums of numbers; None for None, and where the model does not give one.

    In every round the model adds neighbouring digits in pairs, for all numbers at once: 987 becomes 17 and 7, these
    become 8 and 7, 15, and 6. In groups of two digits, 98765 becomes 9, 87 and 65, then 96 and 65, 161, 1 and 61, and
    62. A model that adds wrongly would never end some numbers: they have no root after twice as many rounds as they
    have digits, which is more than right sums take.
    """
    rows = [_digits(number, group) for number in numbers]
    rounds = 2 * max(map(len, rows), default=0)
    for _ in range(rounds):
        if max(map(len, rows)) < 2:
            break
        rows = _add_pairs(rows, ask, group)

    # An empty row has failed, and one of several digits has not come to an end.
    return [row[0] if len(row) == 1 else None for row in rows]


def _add_pairs(rows: list[list[int]], ask: Ask, group: int) -> list[list[int]]:
    """Replaces pairs of digits by the digits of their sums; a row with a sum that is impossible becomes empty."""
    # The pairs of all rows are asked for together; ``owners`` says for each pair from which row it is.
    owners: list[int] = []
    pairs: list[Binary] = []
    for index, row in enumerate(rows):
        for at in range(0, len(row) - 1, 2):
            owners.append(index)
            pairs.append(Binary(PLUS, row[at], row[at + 1]))

    # A wrong sum of 0 to 18, of groups of two 0 to 198, stays: the check tests the model's own arithmetic, and is wrong
    # where that is.
    summed: list[list[int]] = [[] for _ in rows]
    failed: set[int] = set()
    for index, total in zip(owners, ask(pairs), strict=True):
        if total is None or not 0 <= total <= 2 * _largest(group):
            failed.add(index)
        summed[index] += _digits(total, group)

    for index, row in enumerate(rows):
        if index in failed:
            summed[index] = []
        elif len(row) % 2:
            # The last digit has no partner.
            summed[index].append(row[-1])
    return summed


def _digits(number: int | None, group: int) -> list[int]:
    """Returns the decimal digits of a number without its sign, in groups from the right; none for None."""
    if number is None:
        return []
    text = str(abs(number))

    # The first group has the digits that are left over: 98765 is 9, 87 and 65.
    first = len(text) % group or group
    starts = [0, *range(first, len(text), group)]
    return [int(text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
