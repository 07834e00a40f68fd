"""Comparisons: digit by digit from the units, where each column overrules those before it."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import GREATER, ID, LESS, SAME
from o1nano.envs.problems.draws import below, digits_least_first, draw_number
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.script import Script

# Most values that the end of a number is drawn from: ``below`` draws up to 53 bits.
_MAX_DRAWN = 10**15


class Comparison(FunctionFamily):
    """``compare(12, 34)``, answered by ``<``, ``>`` or ``==``."""

    name = "comparison"
    op = ID["compare"]
    phrasings = (
        "how does {a} compare to {b} ?",
        "compare {a} and {b}",
        "compare {a} with {b}",
    )
    nouns = ("{a} compared to {b}",)
    orders = (
        "compare {a} to {b}",
        "compare the numbers {a} and {b}",
        "is {a} larger or smaller than {b} ?",
        "is {a} bigger or smaller than {b} ?",
    )
    arity = 2
    allows_negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Function:
        """Draws two numbers, in either order.

        By default, half of the pairs agree in all but some last digits: the lengths of other pairs already tell which
        number is larger.

        Args:
            rng: Source of all randomness.
            size: Digits of one number.
            second_digits: Digits of the other one; by default at most ``size``.
        """
        # Pairs with the same beginning need every column.
        left = draw_number(rng, size)
        if second_digits is None and rng.random() < 0.5:
            # With 100 different ends, 4567 becomes 45 and two drawn digits.
            ends = 10 ** below(rng, size + 1)
            right = left - left % ends + below(rng, min(ends, _MAX_DRAWN))
        else:
            right = draw_number(rng, 1 + below(rng, size) if second_digits is None else second_digits)

        # Otherwise the longer number would always come first.
        return self.of(left, right) if rng.random() < 0.5 else self.of(right, left)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws two numbers; in a part of the problems round ones.

        Args:
            rng: Source of all randomness.
            size: Digits of one number.
        """
        return self.rounded(self.sample(rng, size), rng)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the one token of the answer.

        Args:
            numbers: The two numbers.
            least_first: Makes no difference.
        """
        return [compare(*numbers)]

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Writes after each column how the digits up to it compare; of two negative numbers compares the opposites.

        Args:
            numbers: The two numbers.
            script: Receives the thinking: ``== == >`` for 123 and 23.
        """
        left, right = numbers
        # -9 > -10 because 10 > 9. Different signs decide without any step.
        if left < 0 and right < 0:
            script.call(self.of(-right, -left))
        elif left >= 0 and right >= 0:
            self._write_columns(left, right, script)
        return self.answer(numbers, least_first=True)

    @staticmethod
    def _write_columns(left: int, right: int, script: Script) -> None:
        """Writes a verdict for each column, units first."""
        verdict = SAME
        # Columns from the units: (3, 3), (2, 2) and (1, 0) for 123 and 23.
        columns = zip_longest(digits_least_first(left), digits_least_first(right), fillvalue=0)
        for upper, lower in columns:
            # A later column counts more, so it overrules the verdict so far; equal digits leave it.
            if upper != lower:
                verdict = compare(upper, lower)
            script.write(verdict)


def compare(left: int, right: int) -> int:
    """Returns ``<``, ``>`` or ``==`` as a token.

    Args:
        left: The number to the left of the sign.
        right: The number to the right of it.
    """
    if left == right:
        return SAME
    return LESS if left < right else GREATER
