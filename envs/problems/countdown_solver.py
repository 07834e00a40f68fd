"""Formulas that make a target from numbers: whether there is one, and the exact value of one.

The numbers are whole. Fractions may occur on the way, as in ``8/(3-8/3)``. Negative values are not searched, because
turning differences round makes them positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache, partial, reduce
from itertools import combinations
from typing import NamedTuple, cast

from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES

Number = int | Fraction
MAX_NUMBER = 10**6 - 1
"""Largest number and target of a problem. It bounds the cost of a verification."""
_OPERATIONS = {PLUS: Fraction.__add__, MINUS: Fraction.__sub__, TIMES: Fraction.__mul__, DIVIDE: Fraction.__truediv__}


def left_overs(numbers: tuple[Number, ...]) -> Iterator[tuple[Number, ...]]:
    """Yields what every operation on two of the numbers leaves, if its value is a whole number from 0.

    Args:
        numbers: Whole numbers.

    Yields:
        The value of the operation, and the other numbers.
    """
    # By index, since numbers may be equal.
    for first, second in combinations(range(len(numbers)), 2):
        rest = tuple(number for index, number in enumerate(numbers) if index not in (first, second))
        for _, _, _, value in results(numbers[first], numbers[second], fractions=False):
            yield (value, *rest)


def solvable(target: int, numbers: tuple[Number, ...], fractions: bool = True) -> bool:
    """Returns True if some formula makes the target.

    Args:
        target: The value of the formula.
        numbers: The numbers.
        fractions: Whether values on the way may be fractions.
    """
    return search(target, tuple(sorted(numbers)), fractions) is not None


def search(target: Number, numbers: tuple[Number, ...], fractions: bool) -> Expr | None:
    """Returns a formula, or None if the problem has no solution.

    It goes backwards from the target until few numbers are left, whose values are tabulated.

    Args:
        target: The value of the formula.
        numbers: The numbers, sorted.
        fractions: Whether values on the way may be fractions.
    """
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
    for needed in needed_operands(target, value):
        if fractions or isinstance(needed.value, int):
            other = _backwards(needed.value, rest, fractions, table)
            if other is not None:
                return Binary(needed.op, other, made) if needed.swapped else Binary(needed.op, made, other)
    return None


class Needed(NamedTuple):
    """The other operand of an operation that makes a target.

    Attributes:
        value: Its value.
        op: Token of the operator.
        swapped: Whether it stands left.
        question: The operation that computes its value; placeholders if target or operand are fractions.
    """

    value: Number
    op: int
    swapped: bool
    question: Binary


def needed_operands(target: Number, value: Number) -> Iterator[Needed]:
    """Yields what makes the target together with a value.

    For the target 24 and the value 8: 8 + 16, 32 - 8, 8 * 3, 192 / 8, 8 / (1/3).
    """
    goal = cast(int, target)
    known = cast(int, value)
    if target >= value:
        yield Needed(target - value, PLUS, False, Binary(MINUS, goal, known))
    else:
        yield Needed(value - target, MINUS, False, Binary(MINUS, known, goal))
    yield Needed(target + value, MINUS, True, Binary(PLUS, goal, known))

    # Nothing is divided by 0.
    if value:
        yield Needed(quotient(target, value), TIMES, False, Binary(DIVIDE, goal, known))
        yield Needed(target * value, DIVIDE, True, Binary(TIMES, goal, known))
        if target:
            yield Needed(quotient(value, target), DIVIDE, False, Binary(DIVIDE, known, goal))


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
    for left, op, _, value in results(one, other, fractions):
        if value not in found:
            found[value] = Binary(op, first, second) if left == one else Binary(op, second, first)


def results(one: Number, other: Number, fractions: bool) -> Iterator[tuple[Number, int, Number, Number]]:
    """Yields the operations on two numbers whose values are not negative: left, operator, right, value."""
    # Subtracting the smaller number keeps values from 0.
    high = max(one, other)
    low = min(one, other)
    yield high, PLUS, low, high + low
    yield high, MINUS, low, high - low
    yield high, TIMES, low, high * low

    # In whole numbers, only exact divisions.
    if low and (fractions or high % low == 0):
        yield high, DIVIDE, low, quotient(high, low)
    if high and fractions:
        yield low, DIVIDE, high, quotient(low, high)


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


def quotient(left: Number, right: Number) -> Number:
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
