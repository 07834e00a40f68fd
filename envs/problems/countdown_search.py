"""The ordered search that the expert of Countdown follows, and the formula that it finds.

It goes backwards: the last operation of a formula is guessed, and what is missing is made of the other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import NamedTuple, cast

from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.countdown_solver import (
    MAX_NUMBER,
    Number,
    needed_operands,
    quotient,
    results,
    search,
    solvable,
)

# Guesses with a number as an operand are tried in this order of their questions.
_ORDER = (DIVIDE, MINUS, PLUS, TIMES)
_PRODUCTS = (TIMES, DIVIDE)
# Of fewer numbers, a formula has an operand that is a number. Of more, nearly every target has a formula with one.
_NUMBERS_OF_TWO_OPERATIONS = 4


class Reduction(NamedTuple):
    """A guess at the last operation of a formula. One operand is known; the other one is to be made of the rest.

    24 from 3, 5, 7, 9 may be 3 * something: what is missing is 24/3 = 8, to be made of 5, 7, 9.

    Attributes:
        operand: One of the numbers, or an operation on two of them.
        op: Token of the last operator.
        operand_first: Whether the operand stands left of the operator.
        question: The operation whose value is missing: of the target and the value of the operand.
        missing: The value of the other operand, a fraction if the question is a division with a remainder.
        rest: The other numbers.
    """

    operand: Expr
    op: int
    operand_first: bool
    question: Binary
    missing: Number
    rest: tuple[int, ...]

    @property
    def is_solvable(self) -> bool:
        """Whether the other operand is whole and can be made."""
        return isinstance(self.missing, int) and solvable(self.missing, self.rest)

    def complete(self, other: Expr) -> Binary:
        """Returns the formula.

        Args:
            other: A formula of the missing value, made of the other numbers.
        """
        operand = _in_parentheses(self.operand)
        other = _in_parentheses(other)
        return Binary(self.op, operand, other) if self.operand_first else Binary(self.op, other, operand)


def reductions(target: int, numbers: tuple[int, ...]) -> list[Reduction]:
    """Returns the reductions to smaller problems, in the order in which they are tried.

    First all divisions by a number, then all differences, sums and products. Of four numbers, operations on two of them
    follow, because ``3*5+2*7`` has no operand that is a number. What is missing is never larger than what the other
    numbers can make. In whole numbers from 0, a search by reductions finds a formula of up to four numbers if there is
    one, except if it begins with ``0 *``.

    Args:
        target: The value of the formula.
        numbers: At least three numbers.
    """
    found: list[Reduction] = []
    for index, number in enumerate(numbers):
        found += _reductions_by(target, number, number, numbers[:index] + numbers[index + 1 :])
    found.sort(key=_rank)

    # The two operations of 3*5+2*7 can be exchanged, so one of them has the first number.
    pairs: list[Reduction] = []
    if len(numbers) == _NUMBERS_OF_TWO_OPERATIONS:
        for index in range(1, len(numbers)):
            rest = numbers[1:index] + numbers[index + 1 :]
            for left, op, right, value in results(numbers[0], numbers[index], fractions=False):
                operation = Binary(op, cast(int, left), cast(int, right))
                pairs += _reductions_by(target, operation, cast(int, value), rest)

    # Equal numbers leave equal problems, and so do 24/1 and 24*1: each is asked once.
    unique: dict[tuple[Number, tuple[int, ...]], Reduction] = {}
    for each in found + pairs:
        unique.setdefault((each.missing, each.rest), each)
    return list(unique.values())


def _reductions_by(target: int, operand: Expr, value: int, rest: tuple[int, ...]) -> Iterator[Reduction]:
    """Yields the reductions of a target by one operand.

    Args:
        target: The value of the formula.
        operand: The operand.
        value: Its value.
        rest: The other numbers.
    """
    # The rest makes no more than this, and no larger target can be asked for.
    largest = min(prod(max(number, 2) for number in rest), MAX_NUMBER)
    for needed in needed_operands(target, value):
        if needed.value > largest:
            continue
        # Of 3 and 7, only 7/3 can be asked, whichever is the target.
        if needed.question.op == DIVIDE and 0 < needed.value < 1:
            continue
        # (1+2)+... is 1+(2+...), which has an operand that is a number. Only (1+2)*... and 1*2+... have none.
        if isinstance(operand, Binary) and (operand.op in _PRODUCTS) == (needed.op in _PRODUCTS):
            continue
        yield Reduction(operand, needed.op, not needed.swapped, needed.question, needed.value, rest)


def _rank(reduction: Reduction) -> int:
    """Returns the place of a reduction by a number: it follows the operation that is asked."""
    return _ORDER.index(reduction.question.op)


@lru_cache(maxsize=1 << 14)
def first_reduction(target: int, numbers: tuple[int, ...]) -> Reduction | None:
    """Returns the first reduction to a problem that can be solved, or None.

    There is none either for formulas that begin with ``0 *``, and for a few of five and six numbers.

    Args:
        target: The value of the formula.
        numbers: At least three numbers.
    """
    if not solvable(target, numbers):
        return None
    return next((each for each in reductions(target, numbers) if each.is_solvable), None)


def operations(target: int, pair: tuple[int, ...]) -> list[tuple[Binary, Number]]:
    """Returns the operations on two numbers that may make a target, with their values, in the order they are tried.

    Sums and products are not smaller than the larger number, differences and quotients not larger. Only 0 times a
    number is smaller. A quotient may have a remainder, so its value may be a fraction.

    Args:
        target: The target.
        pair: The numbers.
    """
    high = max(pair)
    low = min(pair)
    found: list[tuple[Binary, Number]] = []
    if target >= high:
        found.append((Binary(PLUS, high, low), high + low))
    if target <= high:
        found.append((Binary(MINUS, high, low), high - low))
    if target >= high or low == 0:
        found.append((Binary(TIMES, high, low), high * low))
    # Nothing is divided by 0.
    if target <= high and low > 0:
        found.append((Binary(DIVIDE, high, low), quotient(high, low)))
    return found


@lru_cache(maxsize=1 << 14)
def formula(target: int, numbers: tuple[int, ...]) -> Expr | None:
    """Returns a formula of the target, in whole numbers if there is one, or None if there is no formula.

    It is the formula that the search of the expert finds. Operations are in parentheses even where they are not
    needed, except for the last one. A model can then copy the answer of a smaller problem token by token.

    Args:
        target: The value of the formula.
        numbers: The numbers, each of which it uses exactly once.
    """
    if len(numbers) == 2:
        for operation, value in operations(target, numbers):
            if value == target:
                return operation
    if len(numbers) > 2:
        reduction = first_reduction(target, numbers)
        if reduction is not None:
            assert isinstance(reduction.missing, int)
            other = formula(reduction.missing, reduction.rest)
            assert other is not None
            return reduction.complete(other)

    # In whole numbers if possible: a frame can compute these.
    key = tuple(sorted(numbers))
    found = search(target, key, fractions=False)
    if found is None:
        found = search(target, key, fractions=True)
    return None if found is None else _with_parentheses(found)


def _with_parentheses(expr: Expr) -> Expr:
    """Returns an expression with parentheses around every operation but the last."""
    if not isinstance(expr, Binary):
        return expr
    left = _in_parentheses(_with_parentheses(expr.left))
    right = _in_parentheses(_with_parentheses(expr.right))
    return replace(expr, left=left, right=right)


def _in_parentheses(expr: Expr) -> Expr:
    """Returns an operation in parentheses; a number as it is."""
    return replace(expr, parens=True) if isinstance(expr, Binary) else expr
