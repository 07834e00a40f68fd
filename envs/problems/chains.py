"""Long expressions as people write them: terms in a row, with few parentheses."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.expression import Binary, Expr, Task, render
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems.draws import below, draw_number, draw_square
from o1nano.envs.problems.expressions import SQUARES, WITH_SQUARES, Expressions


class Chains(Expressions):
    """``8+5*2-(5-6)*9-3``: sums and differences of numbers, products of two, and products with a difference.

    A hundred operands take some 200 tokens, which a frame holds twice. An expression drawn as a tree has parentheses
    around nearly everything and would not fit.
    """

    name = "chain"
    most_operands = 12

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longest operand of a calculation without divisions.

        Args:
            task: Any problem.
            extra: Most operands.
        """
        if isinstance(task, Binary) and DIVIDE in render(task, least_first=False):
            return None
        return super().size_of(task, extra)

    def sample(self, rng: np.random.Generator, size: int, operands: int | None = None, /) -> Binary:
        """Draws an expression.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            operands: The number of operands, at least 2; by default 2 to 12.

        Raises:
            ConfigurationError: If there are fewer than 2 operands.
        """
        count = 2 + below(rng, 11) if operands is None else operands
        if count < 2:
            raise ConfigurationError(f"operands={operands} of a chain; expected at least 2")
        return self._chain(rng, size, count)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Binary:
        """Draws an expression of 2 to 12 operands; some have squares, which count as two.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
        """
        squares = SQUARES if rng.random() < WITH_SQUARES else 0
        return self._chain(rng, size, 2 + below(rng, 11), squares)

    @staticmethod
    def _chain(rng: np.random.Generator, size: int, operands: int, squares: float = 0) -> Binary:
        """Draws a first number, and terms until there are enough operands.

        Args:
            rng: Source of all randomness.
            size: Most digits of an operand.
            operands: The number of operands, at least 2.
            squares: Share of squares among terms of two operands.
        """
        # The number of operands that are still to be drawn.
        missing = operands
        chain: Expr = draw_number(rng, 1 + below(rng, size))
        missing -= 1
        while missing:
            # A term takes one to three of them.
            count = 1 + below(rng, min(missing, 3))
            numbers = [draw_number(rng, 1 + below(rng, size)) for _ in range(count)]

            op = (PLUS, MINUS)[below(rng, 2)]
            is_squared = count == 2 and squares > 0 and rng.random() < squares
            chain = Binary(op, chain, draw_square(rng, size) if is_squared else _term(numbers))
            missing -= count
        assert isinstance(chain, Binary)
        return chain


def _term(numbers: list[int]) -> Expr:
    """Returns a term of one to three numbers: ``8``, ``5*2``, or ``(5-6)*9``.

    Args:
        numbers: The numbers.
    """
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        first, second = numbers
        return Binary(TIMES, first, second)
    first, second, third = numbers
    return Binary(TIMES, Binary(MINUS, first, second, parens=True), third)
