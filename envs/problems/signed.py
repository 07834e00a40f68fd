"""Problems with negative numbers: those of another family, with signs before some of its numbers and parentheses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Task
from o1nano.envs.language.vocab import MINUS
from o1nano.envs.problems.derived import Derived
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.measures import is_negative
from o1nano.envs.problems.registry import expected_answer

# Share of calculations with a sign before the whole among those that people ask.
_NEGATED = 0.15


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

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Task:
        """Draws a problem that people ask, with signs; some calculations have a sign before the whole: ``-(2+3)``.

        Args:
            rng: Source of all randomness.
            size: As in the other family.
        """
        while True:
            task: Task = self.base.sample_everyday(rng, size)
            # What is in the parentheses has signs of its own half of the time.
            is_negated = isinstance(task, Binary) and rng.random() < _NEGATED
            if not is_negated or rng.random() < 0.5:
                task = self.base.with_signs(task, rng)
            if is_negated:
                assert isinstance(task, Binary)
                task = Binary(MINUS, 0, replace(task, parens=True), negation=True)

            if is_negative(task) and _has_answer(task):
                return task

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the smallest size of this family whose problems are like a given one, or None.

        Args:
            task: Any problem.
            extra: Second parameter of the level.
        """
        unsigned = self.base.unsigned(task)
        return None if unsigned is None else self.base.size_of(unsigned, extra)


def _has_answer(task: Task) -> bool:
    """Returns True if a problem has an answer. Signs change sums, and then a division may not be exact any more."""
    try:
        expected_answer(task, least_first=False)
    except ProblemError:
        return False
    return True
