"""Linear equations: a difference and a division."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS
from o1nano.envs.problems.family import FunctionFamily, Script, below, draw_number


class LinearEquation(FunctionFamily):
    """``a*x+b=c`` with an integer solution: ``solve(a, b, c)`` is x."""

    name, op = "linear_equation", ID["solve"]
    symbolic = "{a} * x {+b} equals {c}"
    phrasings = (
        "solve {a} * x {+b} equals {c}",
        "what is x if {a} x {+b} equals {c} ?",
        "for which x is {a} * x {+b} equals {c} ?",
        "find x in {a} * x {+b} equals {c}",
    )
    arity = range(3, 4)
    negative = True

    @property
    def readings(self) -> tuple[str, ...]:
        """``3x+4=19`` is read as well."""
        return ("{a} x {+b} equals {c}", *super().readings)

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws a, b and x of ``size`` digits (a of ``other``); b and x are negative half of the time."""
        factor = max(draw_number(rng, size if other is None else other), 2)
        shift = max(draw_number(rng, size), 1) * (1, -1)[below(rng, 2)]
        unknown = draw_number(rng, size) * (1, -1)[below(rng, 2)]
        return self.of(factor, shift, factor * unknown + shift)

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless exactly one integer solves the equation."""
        super().check(numbers)
        factor, shift, value = numbers
        if factor == 0 or (value - shift) % factor:
            equation = f"{factor}*x{shift:+}={value}"
            raise ProblemError(f"{equation} has not exactly one integer solution; accepted: one that has")

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of x."""
        factor, shift, value = numbers
        return render((value - shift) // factor, least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """``x = (c - b) / a``."""
        factor, shift, value = numbers
        script.call(Binary(MINUS, value, shift))
        script.step()
        script.call(Binary(DIVIDE, value - shift, factor))
        return self.answer(numbers, least_first=True)
