"""Long expressions as people write them: terms in a row, and hardly a parenthesis."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Binary, Expr
from o1nano.envs.language.vocab import MINUS, PLUS, TIMES
from o1nano.envs.problems.expressions import Expressions
from o1nano.envs.problems.family import below, draw_number


class Chains(Expressions):
    """``8+5*2-(5-6)*9-3``: sums and differences of numbers, products of two, and products with a difference.

    A hundred operands are some 200 tokens, which a frame holds twice; an expression drawn as a tree has parentheses
    around nearly everything and would not fit.
    """

    name = "chain"

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """Draws an expression.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            other: The number of operands; 2 to 12 by default.
        """
        left = 2 + below(rng, 11) if other is None else other
        if left < 2:
            raise ConfigurationError(f"a chain of {other} operands; accepted: at least 2")
        chain: Expr = draw_number(rng, 1 + below(rng, size))
        left -= 1
        while left:
            operands = 1 + below(rng, min(left, 3))
            term = self._term(*(draw_number(rng, 1 + below(rng, size)) for _ in range(operands)))
            chain = Binary((PLUS, MINUS)[below(rng, 2)], chain, term)
            left -= operands
        assert isinstance(chain, Binary)
        return chain

    @staticmethod
    def _term(first: int, second: int | None = None, third: int | None = None) -> Expr:
        """A number, a product of two, or a product with a difference."""
        if second is None:
            return first
        if third is None:
            return Binary(TIMES, first, second)
        return Binary(TIMES, Binary(MINUS, first, second, parens=True), third)
