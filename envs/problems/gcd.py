"""Greatest common divisors, by Euclid: a division, and a tail call with the divisor and the remainder."""

from __future__ import annotations

import math

import numpy as np

from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import DIVIDE, ID
from o1nano.envs.problems.family import FunctionFamily, Script, below, draw_number


class GreatestCommonDivisor(FunctionFamily):
    """``gcd(a, b)`` of non-negative integers; ``gcd(a, 0)`` is a."""

    name, op = "gcd", ID["gcd"]
    phrasings = (
        "calculate the greatest common divisor of {a} and {b}",
        "what is the greatest common divisor of {a} and {b} ?",
        "find the greatest common divisor of {a} and {b}",
    )
    arity = range(2, 3)
    commutative = True

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws numbers of at most ``size`` and ``other`` digits; half of the time with a divisor put into both."""
        first = draw_number(rng, size)
        second = draw_number(rng, 1 + below(rng, size) if other is None else other)
        if rng.random() < 0.5:
            divisor = max(draw_number(rng, 1 + below(rng, size)), 1)
            first, second = (number - number % divisor or divisor for number in (first, second))
        return self.of(first, second) if rng.random() < 0.5 else self.of(second, first)

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the divisor."""
        return render(math.gcd(*numbers), least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int] | None:
        """``gcd(a, b) = gcd(b, a mod b)`` until b is 0."""
        left, right = numbers
        if right == 0:
            return self.answer(numbers, least_first=True)
        script.call(Binary(DIVIDE, left, right))
        script.step()
        script.tail_call(self.of(right, left % right))
        return None
