"""Modular arithmetic: the operation first, then a division of which only the remainder is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, PLUS, TIMES
from o1nano.envs.problems.draws import below, draw_number, draw_signs
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.script import Script

_OPERATORS = (PLUS, MINUS, TIMES)
# Most digits of the modulus of a single number.
_MODULUS_DIGITS = 3


class Modular(FunctionFamily):
    """``a mod n`` with n from 1, where a is a number or an operation. The answer is from 0 to n - 1."""

    name = "modular"
    op = ID["mod"]
    symbolic = "{a} mod {b}"
    phrasings = (
        "what is {a} modulo {b} ?",
        "calculate {a} modulo {b}",
        "what is the remainder when {a} is divided by {b} ?",
        "find the remainder of {a} modulo {b}",
    )
    nouns = (
        "{a} modulo {b}",
        "{op} ( {list} )",
        "the remainder of {a} divided by {b}",
        "remainder when {a} is divided by {b}",
        "the remainder when {a} is divided by {b}",
    )
    orders = (
        "divide {a} by {b} and give the remainder",
        "find {a} modulo {b}",
    )
    arity = 2
    allows_negative = True

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Function:
        """Draws ``a + b``, ``a - b`` or ``a * b``, and a modulus.

        Args:
            rng: Source of all randomness.
            size: Digits of a and b.
            second_digits: Digits of the modulus; by default 1 or 2, and not more than ``size``.
        """
        op = _OPERATORS[below(rng, len(_OPERATORS))]
        # Larger moduli would make every problem a long division.
        modulus = draw_number(rng, 1 + below(rng, min(size, 2)) if second_digits is None else second_digits)
        left = draw_number(rng, size)
        right = draw_number(rng, size)
        # Modulo 1 everything is 0.
        return Function(self.op, (Binary(op, left, right), max(modulus, 2)))

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws an operation, or half of the time a single number, and a modulus: ``100 mod 7``.

        Args:
            rng: Source of all randomness.
            size: Most digits of a number.
        """
        if rng.random() < 0.5:
            return self.sample(rng, size)
        # The number is the longer one half of the time and more: otherwise the answer is the number itself.
        number = draw_number(rng, size if rng.random() < 0.5 else 1 + below(rng, size))
        modulus = draw_number(rng, 1 + below(rng, min(size, _MODULUS_DIGITS)))
        return self.rounded(self.of(number, max(modulus, 2)), rng)

    def with_signs(self, task: Function, rng: np.random.Generator) -> Function:
        """Returns a problem with signs in the number, not before the modulus.

        Args:
            task: A problem of this family.
            rng: Source of all randomness.
        """
        number, modulus = task.args
        return replace(task, args=(draw_signs(number, rng), modulus))

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless there are a number and a modulus from 1.

        Args:
            numbers: The arguments.
        """
        super().check(numbers)
        if numbers[1] < 1:
            raise ProblemError(f"modulo {numbers[1]}; expected a modulus from 1")

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the remainder.

        Args:
            numbers: Number and modulus.
            least_first: Whether digits are written least significant first.
        """
        number, modulus = numbers
        return render(number % modulus, least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Divides; for a negative number, divides its opposite and takes the remainder from the modulus.

        Args:
            numbers: Number and modulus.
            script: Receives the thinking.
        """
        number, modulus = numbers
        script.call(Binary(DIVIDE, abs(number), modulus))

        # -46 mod 7: 46 leaves 4, so the answer is 7 - 4.
        remainder = abs(number) % modulus
        if number < 0 and remainder:
            script.step()
            script.call(Binary(MINUS, modulus, remainder))
        return self.answer(numbers, least_first=True)
