"""Problems with negative numbers: those of another family, with signs before some of its numbers and parentheses."""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Expr, Task
from o1nano.envs.language.templates import arguments_of
from o1nano.envs.problems.derived import Derived
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.registry import expected_answer


class Signed(Derived):
    """Draws the problems of another family with at least one negative number; ``signed_addition`` for ``addition``.

    Who reads a problem with signs finds it in the family ``expression``, or in that of its function. There is the
    expert, too: ``-5+3`` calls ``5-3`` and writes the sign (see ``expressions``).

    Args:
        base: The other family.
    """

    def __init__(self, base: Family[Any]) -> None:
        super().__init__(base)
        self.name = f"signed_{base.name}"

    def sample(self, rng: np.random.Generator, size: int, extra: int | None = None, /) -> Task:
        """Draws a problem of the other family, and signs, until a number is negative and there is an answer.

        Args:
            rng: Source of all randomness.
            size: As in the other family.
            extra: As in the other family.
        """
        while True:
            task: Task = self.base.with_signs(self.base.sample(rng, size, extra), rng)
            if is_negative(task) and _has_answer(task):
                return task


def is_negative(task: Task) -> bool:
    """Returns True if a number of a problem is negative, or if a sign stands before parentheses.

    Args:
        task: The problem.
    """
    return any(map(_has_sign, arguments_of(task)))


def _has_sign(expr: Expr) -> bool:
    """Returns True if a number in an expression is negative, or if a sign stands before parentheses."""
    if isinstance(expr, int):
        return expr < 0
    return expr.negation or _has_sign(expr.left) or _has_sign(expr.right)


def _has_answer(task: Task) -> bool:
    """Returns True if a problem has an answer. Signs change sums, and then a division may not be exact any more."""
    try:
        expected_answer(task, least_first=False)
    except ProblemError:
        return False
    return True
