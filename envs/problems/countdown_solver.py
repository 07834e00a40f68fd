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
from math import prod
from typing import NamedTuple, cast

from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES

Number = int | Fraction
# Reductions by a number are tried in this order of their questions.
_ORDER = (DIVIDE, MINUS, PLUS, TIMES)
# Of fewer numbers, a formula has an operand that is a number. Of more, nearly every target has a formula with one.
_NUMBERS_OF_TWO_OPERATIONS = 4
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
            for left, op, right, value in _results(numbers[0], numbers[index], fractions=False):
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
    largest = prod(max(number, 2) for number in rest)
    for needed in _needed(target, value):
        is_possible = needed.value <= largest
        # (1+2)+... is 1+(2+...), which has an operand that is a number. Only (1+2)*... and 1*2+... have none.
        if isinstance(operand, Binary):
            is_possible = is_possible and _binds(operand.op) != _binds(needed.op)
        # Of 3 and 7, only 7/3 can be asked, whichever is the target.
        is_division = needed.question.op == DIVIDE
        if is_possible and not (is_division and needed.value < 1 and target):
            yield Reduction(operand, needed.op, not needed.swapped, needed.question, needed.value, rest)


def _binds(op: int) -> bool:
    """Returns True for products and quotients."""
    return op in (TIMES, DIVIDE)


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
        found.append((Binary(DIVIDE, high, low), _quotient(high, low)))
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
    found = _search(target, key, fractions=False)
    if found is None:
        found = _search(target, key, fractions=True)
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


def solvable(target: int, numbers: tuple[Number, ...], fractions: bool = True) -> bool:
    """Returns True if some formula makes the target.

    Args:
        target: The value of the formula.
        numbers: The numbers.
        fractions: Whether values on the way may be fractions.
    """
    return _search(target, tuple(sorted(numbers)), fractions) is not None


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
    for needed in _needed(target, value):
        if fractions or isinstance(needed.value, int):
            other = _backwards(needed.value, rest, fractions, table)
            if other is not None:
                return Binary(needed.op, other, made) if needed.swapped else Binary(needed.op, made, other)
    return None


class _Needed(NamedTuple):
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


def _needed(target: Number, value: Number) -> Iterator[_Needed]:
    """Yields what makes the target together with a value.

    For the target 24 and the value 8: 8 + 16, 32 - 8, 8 * 3, 192 / 8, 8 / (1/3).
    """
    goal = cast(int, target)
    known = cast(int, value)
    if target >= value:
        yield _Needed(target - value, PLUS, False, Binary(MINUS, goal, known))
    else:
        yield _Needed(value - target, MINUS, False, Binary(MINUS, known, goal))
    yield _Needed(target + value, MINUS, True, Binary(PLUS, goal, known))

    # Nothing is divided by 0.
    if value:
        yield _Needed(_quotient(target, value), TIMES, False, Binary(DIVIDE, goal, known))
        yield _Needed(target * value, DIVIDE, True, Binary(TIMES, goal, known))
        if target:
            yield _Needed(_quotient(value, target), DIVIDE, False, Binary(DIVIDE, known, goal))


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
