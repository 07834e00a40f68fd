"""Expressions with parentheses, precedence and negative values: one reduction a frame, then a tail call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import PRECEDENCE, Binary, Expr, answer, evaluate
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.family import Family, Script, below, draw_number


class Expressions(Family[Binary]):
    """Three or four operands; also every subtask with nested or negative operands."""

    name = "expression"
    phrasings = ("calculate {expr}", "what is {expr} ?")

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """Draws an expression.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            other: The number of operands; 3 or 4 by default.
        """
        expr = self._tree(rng, size, 3 + below(rng, 2) if other is None else other)
        if isinstance(expr, int):
            raise ConfigurationError(f"an expression of {other} operands; accepted: at least 2")
        return replace(expr, parens=False)

    def _tree(self, rng: np.random.Generator, size: int, operands: int) -> Expr:
        if operands == 1:
            return draw_number(rng, 1 + below(rng, size))
        first = 1 + below(rng, operands - 1)
        left, right = self._tree(rng, size, first), self._tree(rng, size, operands - first)
        op = (PLUS, MINUS, TIMES, DIVIDE)[below(rng, 4)]
        low, high = evaluate(left), evaluate(right)
        if op == DIVIDE and (high == 0 or low % high):
            op = MINUS  # only exact divisions are problems
        if op == TIMES and abs(low * high) >= 10 ** (2 * size + 1):
            op = PLUS  # keeps values near the size that was asked for
        return Binary(op, self._wrap(rng, left, op, 0), self._wrap(rng, right, op, 1), parens=False)

    @staticmethod
    def _wrap(rng: np.random.Generator, expr: Expr, op: int, side: int) -> Expr:
        """Adds parentheses where they are needed, and sometimes where they are not: people do both."""
        if isinstance(expr, int):
            return expr
        needed = PRECEDENCE[expr.op] < PRECEDENCE[op] + side
        return replace(expr, parens=bool(needed or rng.random() < 0.25))

    def think(self, expr: Binary, script: Script) -> list[int] | None:
        """Reduces the leftmost pair of numbers and tail-calls the rest; two numbers with signs become one call."""
        if isinstance(expr.left, int) and isinstance(expr.right, int):
            return self._signed(expr, expr.left, expr.right, script)
        reduced, pair = _reduce(expr)
        script.call(pair)
        script.step()
        script.tail_call(reduced)
        return None

    @staticmethod
    def _signed(expr: Binary, left: int, right: int, script: Script) -> list[int]:
        """``-3 - 3`` is ``-(3 + 3)``: one call on absolute values, and a sign."""
        low, high = abs(left), abs(right)
        if expr.op in (PLUS, MINUS):
            plus = right if expr.op == PLUS else -right
            if left < 0 < plus or (left < 0 and plus == 0):
                script.call(Binary(MINUS, high, low))
            elif left >= 0 > plus:
                script.call(Binary(MINUS, low, high))
            else:
                script.call(Binary(PLUS, low, high))
        else:
            script.call(Binary(expr.op, low, high))
        return answer(expr, least_first=True)


def _reduce(expr: Binary) -> tuple[Binary, Binary]:
    """Replaces the leftmost operation on two numbers by its value; returns the new expression and that operation."""
    if isinstance(expr.left, Binary):
        if isinstance(expr.left.left, int) and isinstance(expr.left.right, int):
            return replace(expr, left=evaluate(expr.left)), replace(expr.left, parens=False)
        left, pair = _reduce(expr.left)
        return replace(expr, left=left), pair
    assert isinstance(expr.right, Binary)
    if isinstance(expr.right.left, int) and isinstance(expr.right.right, int):
        return replace(expr, right=evaluate(expr.right)), replace(expr.right, parens=False)
    right, pair = _reduce(expr.right)
    return replace(expr, right=right), pair
