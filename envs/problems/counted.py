"""Problems whose size is how many numbers they have, so that a curriculum can grow chains and lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from o1nano.envs.language.expression import Task
from o1nano.envs.problems.derived import Derived
from o1nano.envs.problems.draws import below
from o1nano.envs.problems.family import Family
from o1nano.envs.problems.measures import numbers_of

_MAX_DIGITS = 2


class Counted(Derived):
    """Draws the problems of another family by their number of numbers; ``long_chain`` for ``chain``.

    Size 1 are two numbers. The second parameter, ``digits``, is the size in the other family: most digits of a number,
    1 or 2 by default.

    Args:
        base: A family whose second parameter is the number of numbers.
    """

    first_value = 2
    default_sizes = (2, 8)
    extra_name = "digits"

    def __init__(self, base: Family[Any]) -> None:
        super().__init__(base)
        self.name = f"long_{base.name}"
        self.size_name = base.extra_name
        self.first_value = Counted.first_value
        self.default_sizes = Counted.default_sizes
        self.extra_name = Counted.extra_name

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns one less than the number of numbers, provided that they are short enough.

        Args:
            task: Any problem.
            extra: Most digits of a number.
        """
        # The base family judges digits; the number of numbers is its second parameter.
        count = len(numbers_of(task))
        digits = self.base.size_of(task, count)
        most = _MAX_DIGITS if extra is None else extra
        return count - 1 if digits is not None and digits <= most else None

    def sample(self, rng: np.random.Generator, size: int, digits: int | None = None, /) -> Task:
        """Draws a problem.

        Args:
            rng: Source of all randomness.
            size: One less than the number of numbers.
            digits: Most digits of a number.
        """
        # Few digits: here the length of a problem is its difficulty, not the size of its numbers.
        most = 1 + below(rng, _MAX_DIGITS) if digits is None else digits
        task: Task = self.base.sample(rng, most, size + 1)
        return task
