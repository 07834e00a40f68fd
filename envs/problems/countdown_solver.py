"""Formulas that make a target from numbers: an exact search for them, and their exact value.

The numbers are whole; fractions occur on the way, as in ``8/(3-8/3)``. Negative values are not searched: each becomes a
positive one when differences are turned round.
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
    """Two of the numbers, an operation on them, its value, and the numbers that are left."""

    left: Number
    op: int
    right: Number
    value: Number
    rest: tuple[Number, ...]

    @property
    def binary(self) -> Binary:
        """The operation. Fractions stand in it only until a search has replaced them by what they were made of."""
        return Binary(self.op, cast(int, self.left), cast(int, self.right))

    @property
    def left_over(self) -> tuple[Number, ...]:
        """The numbers of the smaller problem."""
        return (self.value, *self.rest)


def steps_from(numbers: tuple[Number, ...]) -> Iterator[Step]:
    """Yields every operation on two of the numbers that stays in the whole numbers from 0."""
    for first, second in combinations(range(len(numbers)), 2):
        rest = tuple(number for index, number in enumerate(numbers) if index not in (first, second))
        for left, op, right, value in _results(numbers[first], numbers[second], fractions=False):
            yield Step(left, op, right, value, rest)


def formula(target: int, numbers: tuple[int, ...]) -> Expr | None:
    """Returns a formula of the target, with whole numbers only if there is one, or None."""
    whole = plan(target, numbers)
    return plan(target, numbers, fractions=True) if whole is None else whole


@lru_cache(maxsize=1 << 14)
def plan(target: int, numbers: tuple[Number, ...], fractions: bool = False) -> Expr | None:
    """Returns a formula that consists of a first step and the formula of what that leaves, or None."""
    step = first_step(target, numbers, fractions)
    if step is None:
        return target if numbers == (target,) else None
    if not step.rest:
        return step.binary
    rest = plan(target, step.left_over, fractions)
    assert rest is not None
    return _substitute(rest, step.value, step.binary)


def first_step(target: int, numbers: tuple[Number, ...], fractions: bool = False) -> Step | None:
    """Returns an operation on two of the numbers that a formula begins with; None if there is none."""
    found = _search(target, tuple(sorted(numbers)), fractions)
    if not isinstance(found, Binary):
        return None
    while isinstance(found.left, Binary) or isinstance(found.right, Binary):
        found = found.left if isinstance(found.left, Binary) else cast(Binary, found.right)
    rest = list(numbers)
    rest.remove(found.left)
    rest.remove(found.right)
    value = exact_value(found)
    assert value is not None
    return Step(found.left, found.op, found.right, _quotient(value, 1), tuple(rest))


def _substitute(expr: Expr, leaf: Number, by: Binary) -> Expr | None:
    """Replaces the first leaf of a value by an operation in parentheses; None without one.

    Always in parentheses, needed or not: what the smaller problem answered can then be copied as it is, token by token.
    Left out where they are needless, they were what a trained model got wrong most (docs/log.md).
    """
    if isinstance(expr, Binary):
        left = _substitute(expr.left, leaf, by)
        if left is not None:
            return replace(expr, left=left)
        right = _substitute(expr.right, leaf, by)
        return None if right is None else replace(expr, right=right)
    return replace(by, parens=True) if expr == leaf else None


def solvable(target: int, numbers: tuple[Number, ...]) -> bool:
    """Tells exactly, with fractions, whether some formula makes the target."""
    return _search(target, tuple(sorted(numbers)), fractions=True) is not None


def _search(target: Number, numbers: tuple[Number, ...], fractions: bool) -> Expr | None:
    """Searches backwards from the target until few numbers are left, whose values are tabulated."""
    # A table of all that four numbers make takes longer than one search, but of six numbers it is searched often.
    return _backwards(target, numbers, fractions, 4 if len(numbers) > 5 else 3)


@lru_cache(maxsize=1 << 14)
def _backwards(target: Number, numbers: tuple[Number, ...], fractions: bool, table: int) -> Expr | None:
    if len(numbers) <= table:
        return _values(numbers, fractions).get(target)
    for part, rest in _splits(numbers):
        for value, made in _values(part, fractions).items():
            if value == target == 0:
                return Binary(TIMES, made, reduce(partial(Binary, PLUS), cast(tuple[Expr, ...], rest)))
            for needed, op, swapped in _needed(target, value):
                if fractions or isinstance(needed, int):
                    other = _backwards(needed, rest, fractions, table)
                    if other is not None:
                        return Binary(op, other, made) if swapped else Binary(op, made, other)
    return None


def _needed(target: Number, value: Number) -> Iterator[tuple[Number, int, bool]]:
    """Yields what makes the target of a value, by which operation, and whether it is the left operand."""
    yield (target - value, PLUS, False) if target >= value else (value - target, MINUS, False)
    yield target + value, MINUS, True
    if value:
        yield _quotient(target, value), TIMES, False
        yield target * value, DIVIDE, True
        if target:
            yield _quotient(value, target), DIVIDE, False


@lru_cache(maxsize=1 << 8)
def _values(numbers: tuple[Number, ...], fractions: bool) -> dict[Number, Expr]:
    """Returns every value, from 0, of the formulas that use all the numbers, which are sorted; with one formula."""
    if len(numbers) == 1:
        return {numbers[0]: cast(int, numbers[0])}
    found: dict[Number, Expr] = {}
    for part, rest in _splits(numbers):
        for one, first in _values(part, fractions).items():
            for other, second in _values(rest, fractions).items():
                for left, op, _, value in _results(one, other, fractions):
                    if value not in found:
                        found[value] = Binary(op, first, second) if left == one else Binary(op, second, first)
    return found


def _results(one: Number, other: Number, fractions: bool) -> Iterator[tuple[Number, int, Number, Number]]:
    """Yields the operations on two numbers with their values, which are not negative: left, op, right, value."""
    high, low = (one, other) if one >= other else (other, one)
    yield high, PLUS, low, high + low
    yield high, MINUS, low, high - low
    yield high, TIMES, low, high * low
    if low and (fractions or high % low == 0):
        yield high, DIVIDE, low, _quotient(high, low)
    if high and fractions:
        yield low, DIVIDE, high, _quotient(low, high)


def _splits(numbers: tuple[Number, ...]) -> Iterable[tuple[tuple[Number, ...], tuple[Number, ...]]]:
    """Returns every division of some numbers into two parts, the smaller one first."""
    every = range(len(numbers))
    return dict.fromkeys(
        (tuple(numbers[i] for i in part), tuple(numbers[i] for i in every if i not in part))
        for size in range(1, len(numbers) // 2 + 1)
        for part in combinations(every, size)
    )


def _quotient(left: Number, right: Number) -> Number:
    exact = Fraction(left, right)
    return exact.numerator if exact.denominator == 1 else exact


def leaves(expr: Expr) -> list[int]:
    """Returns the numbers of a formula, from left to right."""
    return [*leaves(expr.left), *leaves(expr.right)] if isinstance(expr, Binary) else [expr]


def exact_value(expr: Expr) -> Fraction | None:
    """Returns the exact value of a formula, or None if something is divided by 0."""
    if not isinstance(expr, Binary):
        return Fraction(expr)
    left, right = exact_value(expr.left), exact_value(expr.right)
    if left is None or right is None or (expr.op == DIVIDE and right == 0):
        return None
    return _OPERATIONS[expr.op](left, right) if expr.op in _OPERATIONS else None
