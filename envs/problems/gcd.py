"""Greatest common divisors by Euclid: a division, and a tail call with the divisor and the remainder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import DIVIDE, ID
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.script import Script


class GreatestCommonDivisor(FunctionFamily):
    """``gcd(a, b)`` of integers; it is not negative, and ``gcd(a, 0)`` is a without its sign."""

    name = "gcd"
    op = ID["gcd"]
    phrasings = (
        "calculate the greatest common divisor of {a} and {b}",
        "what is the greatest common divisor of {a} and {b} ?",
        "find the greatest common divisor of {a} and {b}",
    )
    nouns = (
        "{op} of {a} and {b}",
        "the {op} of {a} and {b}",
        "greatest common divisor of {a} and {b}",
        "greatest common factor of {a} and {b}",
        "the greatest common factor of {a} and {b}",
        "the highest common factor of {a} and {b}",
        "the hcf of {a} and {b}",
        "hcf ( {list} )",
        "gcf ( {list} )",
    )
    arity = 2
    allows_negative = True
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Function:
        """Draws two numbers, in either order; half of the time both are multiples of a drawn divisor.

        Args:
            rng: Source of all randomness.
            size: Most digits of one number.
            second_digits: Most digits of the other one; by default 1 to ``size``.
        """
        # Two random numbers mostly have the divisor 1 or 2.
        first = draw_number(rng, size)
        second = draw_number(rng, 1 + below(rng, size) if second_digits is None else second_digits)
        if rng.random() < 0.5:
            divisor = max(draw_number(rng, 1 + below(rng, size)), 1)
            # The largest multiple of the divisor that is not larger, but not 0.
            first = first - first % divisor or divisor
            second = second - second % divisor or divisor

        # Euclid needs one step more if the smaller number comes first, and the model must know that case too.
        return self.of(first, second) if rng.random() < 0.5 else self.of(second, first)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws two numbers; in a part of the problems round ones.

        Args:
            rng: Source of all randomness.
            size: Most digits of a number.
        """
        return self.rounded(self.sample(rng, size), rng)

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Orders the keys, without signs: they make no difference.

        Args:
            keys: The keys of the two numbers.
        """
        return sorted(key.removeprefix("-") for key in keys)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the divisor.

        Args:
            numbers: The two numbers.
            least_first: Whether digits are written least significant first.
        """
        return render(math.gcd(*numbers), least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int] | None:
        """Drops signs, then replaces ``gcd(a, b)`` by ``gcd(b, a mod b)`` until b is 0.

        Args:
            numbers: The two numbers.
            script: Receives the thinking.
        """
        left, right = numbers
        # gcd(-48, 36) is gcd(48, 36).
        if left < 0 or right < 0:
            script.tail_call(self.of(abs(left), abs(right)))
            return None
        # gcd(a, 0) is a: here the algorithm ends.
        if right == 0:
            return self.answer(numbers, least_first=True)

        # The quotient is not needed, but a division is what gives the remainder.
        script.call(Binary(DIVIDE, left, right))
        script.step()
        script.tail_call(self.of(right, left % right))
        return None
