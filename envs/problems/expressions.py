"""Expressions with parentheses, precedence and negative values: one reduction a frame, then a tail call."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import PRECEDENCE, Binary, Expr, Task, evaluate
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.draws import below, draw_number, draw_square, is_square
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.measures import is_negative, most_digits, numbers_of
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script

_OPERATORS = (PLUS, MINUS, TIMES, DIVIDE)
# Share of operands in parentheses among those that need none: people write both.
_NEEDLESS_PARENTHESES = 0.25
WITH_SQUARES = 0.3
"""Share of expressions that may have squares among those that people ask."""
SQUARES = 0.8
"""Share of squares in these, among the parts of two operands that might be one."""


class Expressions(Family[Binary]):
    """Three or four operands; also every subtask with nested or negative operands."""

    name = "expression"
    phrasings = ("calculate {expr}", "what is {expr} ?")
    extra_name = "operands"
    # That are drawn by default.
    most_operands = 4

    def sample(self, rng: np.random.Generator, size: int, operands: int | None = None, /) -> Binary:
        """Draws an expression.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            operands: The number of operands, at least 2; by default 3 or 4.

        Raises:
            ConfigurationError: If there are fewer than 2 operands.
        """
        count = 3 + below(rng, 2) if operands is None else operands
        expr = self._tree(rng, size, count)
        if isinstance(expr, int):
            raise ConfigurationError(f"operands={operands} of an expression; expected at least 2")
        # Nothing is in parentheses as a whole.
        return replace(expr, parens=False)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Binary:
        """Draws an expression of three or four operands; some have squares, which count as two: ``2*7^2``.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
        """
        expr = self._tree(rng, size, 3 + below(rng, 2), SQUARES if rng.random() < WITH_SQUARES else 0)
        assert isinstance(expr, Binary)
        return replace(expr, parens=False)

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longest operand of a calculation with several operations.

        Args:
            task: Any problem.
            extra: Most operands.
        """
        if not isinstance(task, Binary) or is_negative(task):
            return None
        numbers = numbers_of(task)
        most = self.most_operands if extra is None else extra
        return most_digits(numbers) if 2 < len(numbers) <= most else None

    def _tree(self, rng: np.random.Generator, size: int, operands: int, squares: float = 0) -> Expr:
        """Draws a tree of operations: a number of operands for the left side, both sides, and the operator.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            operands: The number of operands.
            squares: Share of squares among parts of two operands.
        """
        if operands == 1:
            return draw_number(rng, 1 + below(rng, size))
        if operands == 2 and squares and rng.random() < squares:
            return draw_square(rng, size)

        # Either side has at least one operand.
        first = 1 + below(rng, operands - 1)
        left = self._tree(rng, size, first, squares)
        right = self._tree(rng, size, operands - first, squares)

        op = _OPERATORS[below(rng, len(_OPERATORS))]
        # Drawn numbers are hardly ever multiples of a square.
        if op == DIVIDE and isinstance(left, int) and is_square(right):
            left = _multiple_of(evaluate(right), left, size, rng)
        # Values decide whether the operator may stay.
        low = evaluate(left)
        high = evaluate(right)
        # Only exact divisions are problems.
        if op == DIVIDE and (high == 0 or low % high):
            op = MINUS
        # Keeps values near the size of the level.
        if op == TIMES and abs(low * high) >= 10 ** (2 * size + 1):
            op = PLUS

        # The operator is settled, so it is known which operands need parentheses.
        left = self._wrap(rng, left, op, 0)
        right = self._wrap(rng, right, op, 1)
        return Binary(op, left, right)

    @staticmethod
    def _wrap(rng: np.random.Generator, expr: Expr, op: int, side: int) -> Expr:
        """Adds parentheses where they are needed, and sometimes where they are not.

        Args:
            rng: Source of all randomness.
            expr: An operand.
            op: The operator next to it.
            side: 0 for the left operand, 1 for the right one, which also needs parentheses at the same precedence:
                ``1-(2-3)``.
        """
        if isinstance(expr, int) or is_square(expr):
            return expr
        needed = PRECEDENCE[expr.op] < PRECEDENCE[op] + side
        return replace(expr, parens=bool(needed or rng.random() < _NEEDLESS_PARENTHESES))

    def think(self, task: Binary, script: Script) -> list[int] | None:
        """Reduces the leftmost operation on two numbers and tail-calls the rest; of two numbers removes the signs.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        # "-(1+2)": the value of what the sign stands before.
        if task.negation:
            script.call(replace(cast(Binary, task.right), parens=False))
            return expected_answer(task, least_first=True)
        if isinstance(task.left, int) and isinstance(task.right, int):
            script.call(_without_signs(task.op, task.left, task.right))
            if task.op == DIVIDE:
                _round_down(task.left, task.right, script)
            return expected_answer(task, least_first=True)

        # The frame that replaces this one has one operation less, so a long expression takes no deeper stack.
        reduced, operation = _reduce(task)
        script.call(operation)
        script.step()
        script.tail_call(cast(Binary, reduced))
        return None


def _multiple_of(divisor: int, number: int, size: int, rng: np.random.Generator) -> int:
    """Returns a multiple of a divisor instead of a number, or the number if there is none but 0 of so few digits."""
    largest = (10**size - 1) // divisor if divisor else 0
    return divisor * (1 + below(rng, largest)) if largest else number


def _round_down(left: int, right: int, script: Script) -> None:
    """Writes how quotient and remainder of negative numbers follow from those of their absolute values.

    The quotient is rounded down. 7/2 is 3 R 1, so -7/2 is -(3+1) R 2-1 and 7/-2 is -(3+1) R -(2-1), but -7/-2 is
    3 R -1.

    Args:
        left: The dividend.
        right: The divisor.
        script: Receives the calls.
    """
    quotient, remainder = divmod(abs(left), abs(right))
    if remainder and (left < 0) != (right < 0):
        script.step()
        script.call(Binary(PLUS, quotient, 1))
        script.step()
        script.call(Binary(MINUS, abs(right), remainder))


def _without_signs(op: int, left: int, right: int) -> Binary:
    """Returns the operation on absolute values that gives the answer but for its sign: 3 + 3 for -3 - 3.

    Args:
        op: The operator.
        left: The left operand.
        right: The right operand.
    """
    low = abs(left)
    high = abs(right)
    if op not in (PLUS, MINUS):
        return Binary(op, low, high)

    # The problem is left + summand.
    summand = right if op == PLUS else -right
    # -3 + 5 is 5 - 3.
    if left < 0 <= summand:
        return Binary(MINUS, high, low)
    # 3 + -5 is 3 - 5.
    if left >= 0 > summand:
        return Binary(MINUS, low, high)
    # -3 + -5 is -(3 + 5).
    return Binary(PLUS, low, high)


def _reduce(expr: Binary) -> tuple[Expr, Binary]:
    """Replaces the leftmost operation on two numbers by its value. A sign before a number is part of the number.

    Args:
        expr: An expression with more than one operation.

    Returns:
        The new expression and the operation: ``19*5-8/2`` and ``12+7`` for ``(12+7)*5-8/2``.
    """
    # The left side comes first, as long as it has an operation.
    if isinstance(expr.left, Binary):
        if _is_of_numbers(expr.left):
            return replace(expr, left=evaluate(expr.left)), replace(expr.left, parens=False)
        left, operation = _reduce(expr.left)
        return replace(expr, left=left), operation

    assert isinstance(expr.right, Binary)
    if _is_of_numbers(expr.right):
        return _with_right(expr, evaluate(expr.right)), replace(expr.right, parens=False)
    right, operation = _reduce(expr.right)
    return _with_right(expr, right), operation


def _with_right(expr: Binary, right: Expr) -> Expr:
    """Returns an expression with another right operand: -3 for ``-(1+2)`` with 3."""
    if expr.negation and isinstance(right, int):
        return -right
    return replace(expr, right=right)


def _is_of_numbers(expr: Binary) -> bool:
    """Returns True if both operands are numbers."""
    return isinstance(expr.left, int) and isinstance(expr.right, int)
