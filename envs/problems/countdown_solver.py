"""Formulas that make a target from numbers: an exact search for them, and their exact value.

The numbers are whole. Fractions may occur on the way, as in ``8/(3-8/3)``. Negative values are not searched, because
turning differences round makes them positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial, reduce
from itertools import combinations
from typing import NamedTuple, cast

from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES

Number = int | Fraction
_OPERATIONS = {PLUS: Fraction.__add__, MINUS: Fraction.__sub__, TIMES: Fraction.__mul__, DIVIDE: Fraction.__truediv__}


class Step(NamedTuple):
    """An operation on two of the numbers.

    Attributes:
        left: Left operand.
        op: Token of the operator.
        right: Right operand.
        value: Value of the operation.
        rest: The other numbers.
    """

    left: Number
    op: int
    right: Number
    value: Number
    rest: tuple[Number, ...]

    @property
    def binary(self) -> Binary:
        """The operation. Fractions in it are placeholders, which a search replaces by the formulas they stand for."""
        return Binary(self.op, cast(int, self.left), cast(int, self.right))

    @property
    def left_over(self) -> tuple[Number, ...]:
        """The numbers of the smaller problem."""
        return (self.value, *self.rest)


def steps_from(numbers: tuple[Number, ...]) -> Iterator[Step]:
    """Yields every operation on two of the numbers whose value is a whole number from 0.

    Args:
        numbers: Whole numbers.
    """
    # By index, since numbers may be equal.
    for first, second in combinations(range(len(numbers)), 2):
        rest = tuple(number for index, number in enumerate(numbers) if index not in (first, second))
        for left, op, right, value in _results(numbers[first], numbers[second], fractions=False):
            yield Step(left, op, right, value, rest)


def formula(target: int, numbers: tuple[int, ...]) -> Expr | None:
    """Returns a formula of the target, in whole numbers if there is one, or None if there is no formula.

    Args:
        target: The value of the formula.
        numbers: The numbers, each of which it uses exactly once.
    """
    # A frame can follow a search in whole numbers, so that one is preferred.
    whole = plan(target, numbers)
    return plan(target, numbers, fractions=True) if whole is None else whole


@lru_cache(maxsize=1 << 14)
def plan(target: int, numbers: tuple[Number, ...], fractions: bool = False) -> Expr | None:
    """Returns a formula that consists of a first step and the formula of the numbers it leaves, or None.

    Args:
        target: The value of the formula.
        numbers: The numbers.
        fractions: Whether values on the way may be fractions.
    """
    step = first_step(target, numbers, fractions)
    if step is None:
        return target if numbers == (target,) else None
    # The last operation has no parentheses.
    if not step.rest:
        return step.binary

    rest = plan(target, step.left_over, fractions)
    assert rest is not None
    return _substitute(rest, step.value, step.binary)


def first_step(target: int, numbers: tuple[Number, ...], fractions: bool = False) -> Step | None:
    """Returns the operation that a formula begins with, or None if there is no formula or no operation in it.

    Args:
        target: The value of the formula.
        numbers: The numbers.
        fractions: Whether values on the way may be fractions.
    """
    # Sorted, so that the caches serve every order of the numbers.
    found = _search(target, tuple(sorted(numbers)), fractions)
    if not isinstance(found, Binary):
        return None
    # The leftmost operation on two numbers.
    while isinstance(found.left, Binary) or isinstance(found.right, Binary):
        found = found.left if isinstance(found.left, Binary) else cast(Binary, found.right)

    # Equal numbers are removed one by one.
    rest = list(numbers)
    rest.remove(found.left)
    rest.remove(found.right)
    value = exact_value(found)
    assert value is not None
    return Step(found.left, found.op, found.right, _quotient(value, 1), tuple(rest))


def _substitute(expr: Expr, leaf: Number, by: Binary) -> Expr | None:
    """Replaces the first leaf of a value by an operation in parentheses; returns None if there is no such leaf.

    The parentheses are written even if they are not needed. A model can then copy the answer of the smaller problem
    token by token. Leaving out needless parentheses was the most frequent mistake of a trained model.
    """
    if isinstance(expr, Binary):
        # The left side first: only one leaf is replaced.
        left = _substitute(expr.left, leaf, by)
        if left is not None:
            return replace(expr, left=left)
        right = _substitute(expr.right, leaf, by)
        return None if right is None else replace(expr, right=right)
    return replace(by, parens=True) if expr == leaf else None


def solvable(target: int, numbers: tuple[Number, ...]) -> bool:
    """Returns True if some formula makes the target, with fractions on the way.

    Args:
        target: The value of the formula.
        numbers: The numbers.
    """
    return _search(target, tuple(sorted(numbers)), fractions=True) is not None


def _search(target: Number, numbers: tuple[Number, ...], fractions: bool) -> Expr | None:
    """Searches backwards from the target until few numbers are left, whose values are tabulated."""
    # A table of all values of four numbers takes longer than one search, but a search of six numbers reads it often.
    table = 4 if len(numbers) > 5 else 3
    return _backwards(target, numbers, fractions, table)


@lru_cache(maxsize=1 << 14)
def _backwards(target: Number, numbers: tuple[Number, ...], fractions: bool, table: int) -> Expr | None:
    """Returns a formula, or None.

    Args:
        target: The value of the formula.
        numbers: The numbers, sorted.
        fractions: Whether values on the way may be fractions.
        table: The largest number of numbers whose values are looked up in a table.
    """
    if len(numbers) <= table:
        return _values(numbers, fractions).get(target)
    for part, rest in _splits(numbers):
        for value, made in _values(part, fractions).items():
            found = _with_operand(target, value, made, rest, fractions, table)
            if found is not None:
                return found
    return None


def _with_operand(
    target: Number, value: Number, made: Expr, rest: tuple[Number, ...], fractions: bool, table: int
) -> Expr | None:
    """Returns a formula one of whose two operands is given, or None.

    Args:
        target: The value of the formula.
        value: The value of the operand.
        made: The formula of the operand.
        rest: The numbers of the other operand.
        fractions: Whether values on the way may be fractions.
        table: See ``_backwards``: numbers of a table.
    """
    if value == target == 0:
        # 0 times anything: here, times the sum of the other numbers.
        return Binary(TIMES, made, reduce(partial(Binary, PLUS), cast(tuple[Expr, ...], rest)))

    # Backwards: target = value + needed, needed - value, value * needed, ...
    for needed, op, swapped in _needed(target, value):
        if fractions or isinstance(needed, int):
            other = _backwards(needed, rest, fractions, table)
            if other is not None:
                return Binary(op, other, made) if swapped else Binary(op, made, other)
    return None


def _needed(target: Number, value: Number) -> Iterator[tuple[Number, int, bool]]:
    """Yields what makes the target together with a value: a number, an operator, whether the number stands left.

    For the target 24 and the value 8: 8 + 16, 32 - 8, 8 * 3, 192 / 8, 8 / (1/3).
    """
    if target >= value:
        yield target - value, PLUS, False
    else:
        yield value - target, MINUS, False
    yield target + value, MINUS, True

    # Nothing is divided by 0.
    if value:
        yield _quotient(target, value), TIMES, False
        yield target * value, DIVIDE, True
        if target:
            yield _quotient(value, target), DIVIDE, False


@lru_cache(maxsize=1 << 8)
def _values(numbers: tuple[Number, ...], fractions: bool) -> dict[Number, Expr]:
    """Returns all values from 0 of the formulas that use all the numbers, each with one formula.

    Args:
        numbers: The numbers, sorted.
        fractions: Whether values may be fractions.
    """
    if len(numbers) == 1:
        return {numbers[0]: cast(int, numbers[0])}

    # Every formula is an operation on a formula of some of the numbers and one of the others.
    found: dict[Number, Expr] = {}
    for part, rest in _splits(numbers):
        for one, first in _values(part, fractions).items():
            for other, second in _values(rest, fractions).items():
                _add_results(found, one, first, other, second, fractions)
    return found


def _add_results(
    found: dict[Number, Expr], one: Number, first: Expr, other: Number, second: Expr, fractions: bool
) -> None:
    """Adds the new values that two operands make.

    Args:
        found: Receives a formula for each new value.
        one: The value of one operand.
        first: Its formula.
        other: The value of the other operand.
        second: Its formula.
        fractions: Whether values may be fractions.
    """
    for left, op, _, value in _results(one, other, fractions):
        if value not in found:
            found[value] = Binary(op, first, second) if left == one else Binary(op, second, first)


def _results(one: Number, other: Number, fractions: bool) -> Iterator[tuple[Number, int, Number, Number]]:
    """Yields the operations on two numbers whose values are not negative: left, operator, right, value."""
    # Subtracting the smaller number keeps values from 0.
    high = max(one, other)
    low = min(one, other)
    yield high, PLUS, low, high + low
    yield high, MINUS, low, high - low
    yield high, TIMES, low, high * low

    # In whole numbers, only exact divisions.
    if low and (fractions or high % low == 0):
        yield high, DIVIDE, low, _quotient(high, low)
    if high and fractions:
        yield low, DIVIDE, high, _quotient(low, high)


def _splits(numbers: tuple[Number, ...]) -> Iterable[tuple[tuple[Number, ...], tuple[Number, ...]]]:
    """Returns the different divisions of some numbers into two parts, the smaller one first.

    For (1, 2, 2): (1) and (2, 2), (2) and (1, 2).
    """
    # The keys of a dictionary are in the order of insertion.
    found: dict[tuple[tuple[Number, ...], tuple[Number, ...]], None] = {}
    every = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(every, size):
            part = tuple(numbers[index] for index in chosen)
            rest = tuple(numbers[index] for index in every if index not in chosen)
            found[part, rest] = None
    return found


def _quotient(left: Number, right: Number) -> Number:
    """Returns an exact quotient, as an integer if it is one."""
    # Equal values must be equal keys of the tables: 4 and 8/2.
    exact = Fraction(left, right)
    return exact.numerator if exact.denominator == 1 else exact


def leaves(expr: Expr) -> list[int]:
    """Returns the numbers of a formula, from left to right.

    Args:
        expr: The formula.
    """
    return [*leaves(expr.left), *leaves(expr.right)] if isinstance(expr, Binary) else [expr]


def exact_value(expr: Expr) -> Fraction | None:
    """Returns the exact value of a formula, or None if it divides by 0 or has an operator other than ``+ - * /``.

    Args:
        expr: The formula.
    """
    if not isinstance(expr, Binary):
        return Fraction(expr)
    left = exact_value(expr.left)
    right = exact_value(expr.right)

    # An operand that divides by 0 leaves the whole without a value.
    if left is None or right is None:
        return None
    if expr.op == DIVIDE and right == 0:
        return None
    return _OPERATIONS[expr.op](left, right) if expr.op in _OPERATIONS else None
