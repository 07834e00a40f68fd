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
    results,
    search,
    solvable,
)

# Guesses with a number as an operand are tried in this order of their questions.
_ORDER = (DIVIDE, MINUS, PLUS, TIMES)
_PRODUCTS = (TIMES, DIVIDE)
_SUMS = (PLUS, MINUS)
# What is missing is too large if it is more than this times the product of the other numbers. Numbers in between make a
# dead end. So a model that misjudges the product a little loses nothing.
_SLACK = 2
# Whether there is a remainder is known of small numbers, or shows in the last digits. Not so if a number from 100 is
# divided by one of these. Two-digit divisors are left to the model: divisions by them take many tokens.
_LEAST_UNSEEN = 100
_UNSEEN = frozenset((3, 4, 6, 7, 8, 9))
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
        is_too_large: Whether so much is missing that no subtask is asked.
    """

    operand: Expr
    op: int
    operand_first: bool
    question: Binary
    missing: Number
    rest: tuple[int, ...]
    is_too_large: bool

    @property
    def is_asked(self) -> bool:
        """Whether the question is worth asking: a division is not if its remainder can be foreseen."""
        dividend = self.question.left
        if isinstance(self.missing, int):
            return True
        assert isinstance(dividend, int)
        return dividend >= _LEAST_UNSEEN and self.question.right in _UNSEEN

    @property
    def is_solvable(self) -> bool:
        """Whether the other operand is whole and can be made."""
        return isinstance(self.missing, int) and not self.is_too_large and solvable(self.missing, self.rest)

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
    follow, because ``3*5+2*7`` has no operand that is a number. In whole numbers from 0, a search by reductions finds a
    formula of up to four numbers if there is one, except if it begins with ``0 *``.

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
    # The rest makes no more than this.
    largest = prod(max(number, 2) for number in rest)
    for needed in needed_operands(target, value):
        # Of 3 and 7, only 7/3 can be asked, whichever is the target.
        if needed.question.op == DIVIDE and 0 < needed.value < 1:
            continue
        # (1+2)+... is 1+(2+...), which has an operand that is a number. Only (1+2)*... and 1*2+... have none.
        if isinstance(operand, Binary) and (operand.op in _PRODUCTS) == (needed.op in _PRODUCTS):
            continue

        # Every sum and difference with a number is asked: a model loses track of a list that has exceptions.
        if needed.value > largest and (isinstance(operand, Binary) or needed.question.op not in _SUMS):
            continue
        is_too_large = needed.value > min(_SLACK * largest, MAX_NUMBER)
        yield Reduction(operand, needed.op, not needed.swapped, needed.question, needed.value, rest, is_too_large)


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


class Trial(NamedTuple):
    """An operation on two numbers that may make a target.

    Attributes:
        operation: The operation.
        question: What is computed: the operation, or for 8/4 the product of the target and 4.
        value: Its value.
        wanted: The value with which the operation makes the target.
    """

    operation: Binary
    question: Binary
    value: int
    wanted: int


def trials(target: int, pair: tuple[int, ...]) -> list[Trial]:
    """Returns the operations on two numbers that may make a target, in the order they are tried.

    Sums and products are not smaller than the larger number, differences and quotients not larger. Only 0 times a
    number is smaller.

    Args:
        target: The target.
        pair: The numbers.
    """
    high = max(pair)
    low = min(pair)
    found: list[Trial] = []
    if target >= high:
        total = Binary(PLUS, high, low)
        found.append(Trial(total, total, high + low, target))
    if target <= high:
        difference = Binary(MINUS, high, low)
        found.append(Trial(difference, difference, high - low, target))
    if target >= high or low == 0:
        product = Binary(TIMES, high, low)
        found.append(Trial(product, product, high * low, target))
    # A product is cheaper than a division, and has no remainder. Nothing is divided by 0.
    if target <= high and low > 0:
        question = Binary(TIMES, max(target, low), min(target, low))
        found.append(Trial(Binary(DIVIDE, high, low), question, target * low, high))
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
        for trial in trials(target, numbers):
            if trial.value == trial.wanted:
                return trial.operation
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
