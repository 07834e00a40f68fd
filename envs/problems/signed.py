"""Problems with negative numbers: those of another family, with signs before some of its numbers and parentheses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Expr, Task
from o1nano.envs.language.templates import arguments_of
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.problems.script import Script


class Signed(Family[Any]):
    """Draws the problems of another family with at least one negative number; ``signed_addition`` for ``addition``.

    It only draws: who reads a problem with signs finds it in the family ``expression``, or in that of its function.
    There is the expert, too: ``-5+3`` calls ``5-3`` and writes the sign (see ``expressions``).

    Args:
        base: The other family.
    """

    def __init__(self, base: Family[Any]) -> None:
        self.base = base
        self.name = f"signed_{base.name}"
        self.symbolic = base.symbolic
        self.phrasings = base.phrasings
        self.nouns = base.nouns
        self.orders = base.orders
        self.size_name = base.size_name
        self.first_value = base.first_value
        self.default_sizes = base.default_sizes
        self.extra_name = base.extra_name

    @property
    def unsigned(self) -> Family[Any]:
        """The other family."""
        return self.base

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

    def imply(self, task: Task, given: Mapping[int, int]) -> Task:
        """Returns a problem in which some arguments have the values that a template implies.

        Args:
            task: A problem of this family.
            given: Values by the index of their argument.
        """
        implied: Task = self.base.imply(task, given)
        return implied

    def think(self, task: Task, script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking in a subtask of the other family.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        return self.base.think(task, script)


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
