"""Modular arithmetic: the operation first, then a division of which only the remainder is kept."""

from __future__ import annotations

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, PLUS, TIMES
from o1nano.envs.problems.family import FunctionFamily, Script, below, draw_number


class Modular(FunctionFamily):
    """``a mod n`` with n from 1, where a is a number or an operation; the answer is from 0 to n - 1."""

    name, op = "modular", ID["mod"]
    symbolic = "{a} mod {b}"
    phrasings = (
        "what is {a} modulo {b} ?",
        "calculate {a} modulo {b}",
        "what is the remainder when {a} is divided by {b} ?",
        "find the remainder of {a} modulo {b}",
    )
    arity = range(2, 3)
    negative = True

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws ``a + b``, ``a - b`` or ``a * b`` of numbers with ``size`` digits, and a modulus with ``other``.

        By default the modulus has at most two digits, and not more than the numbers.
        """
        op = (PLUS, MINUS, TIMES)[below(rng, 3)]
        modulus = draw_number(rng, 1 + below(rng, min(size, 2)) if other is None else other)
        return Function(self.op, (Binary(op, draw_number(rng, size), draw_number(rng, size)), max(modulus, 2)))

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless there is a number and a modulus from 1."""
        super().check(numbers)
        if numbers[1] < 1:
            raise ProblemError(f"modulo {numbers[1]}; accepted: a modulus from 1")

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the remainder."""
        return render(numbers[0] % numbers[1], least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Divides; a number below 0 is divided without its sign, and what remains is taken from the modulus."""
        number, modulus = numbers
        script.call(Binary(DIVIDE, abs(number), modulus))
        rest = abs(number) % modulus
        if number < 0 and rest:
            script.step()
            script.call(Binary(MINUS, modulus, rest))
        return self.answer(numbers, least_first=True)
