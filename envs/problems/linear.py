"""Linear equations: a difference and a division."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, Task, evaluate, render
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS
from o1nano.envs.problems.draws import below, draw_number
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.measures import most_digits
from o1nano.envs.problems.script import Script


class LinearEquation(FunctionFamily):
    """``a*x+b=c`` with an integer solution. ``solve(a, b, c)`` is x."""

    name = "linear_equation"
    op = ID["solve"]
    symbolic = "{a} * x {+b} equals {c}"
    phrasings = (
        "solve {a} * x {+b} equals {c}",
        "what is x if {a} x {+b} equals {c} ?",
        "for which x is {a} * x {+b} equals {c} ?",
        "find x in {a} * x {+b} equals {c}",
    )
    # "x + 4 equals 19" stands here three times, because it is what people write most and is drawn for itself alone.
    nouns = (
        "{a} x {+b} equals {c}",
        *3 * ("{a=1} x {+b} equals {c}",),
        "{a} x {b=0} equals {c}",
        "{a} * x {b=0} equals {c}",
        "{b} + {a} x equals {c}",
        "{b} + {a} * x equals {c}",
        "{b} + {a=1} x equals {c}",
    )
    orders = (
        "find x in {a} x {+b} equals {c}",
        "solve for x : {a} x {+b} equals {c}",
        "find x : {a} x {+b} equals {c}",
        "find x if {a} x {+b} equals {c}",
        "what is x when {a} x {+b} equals {c} ?",
        "{a} x {+b} equals {c} , what is x ?",
        "{a} x {+b} equals {c} , find x",
        "{a} x {b=0} equals {c} , what is x ?",
        "solve for x : {a=1} x {+b} equals {c}",
        "find x if {a=1} x {+b} equals {c}",
        "what is x if {a=1} x {+b} equals {c} ?",
        "{a=1} x {+b} equals {c} , what is x ?",
        "solve for x : {a} x {b=0} equals {c}",
        "what is x if {a} x {b=0} equals {c} ?",
    )
    arity = 3
    allows_negative = True

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Function:
        """Draws a, b and x. Half of the time b is negative, and so is x.

        Args:
            rng: Source of all randomness.
            size: Digits of b and x.
            second_digits: Digits of a; by default ``size``.
        """
        # Neither 0*x nor 1*x, and no "+ 0".
        factor = max(draw_number(rng, size if second_digits is None else second_digits), 2)
        shift = max(draw_number(rng, size), 1) * (1, -1)[below(rng, 2)]
        unknown = draw_number(rng, size) * (1, -1)[below(rng, 2)]
        # c follows from x, so that x is an integer.
        return self.of(factor, shift, factor * unknown + shift)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws a, b and x, each of its own number of digits: ``12x+3=147``.

        Args:
            rng: Source of all randomness.
            size: Most digits of b, x and a.
        """
        factor = max(_number_up_to(rng, size), 2)
        shift = max(_number_up_to(rng, size), 1) * (1, -1)[below(rng, 2)]
        unknown = _number_up_to(rng, size) * (1, -1)[below(rng, 2)]
        return self.of(factor, shift, factor * unknown + shift)

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longest of a, b and x, where a is positive.

        Args:
            task: Any problem.
            extra: Makes no difference.
        """
        if not isinstance(task, Function) or task.op != self.op:
            return None
        factor, shift, value = map(evaluate, task.args)
        return None if factor < 0 else most_digits((factor, shift, (value - shift) // factor))

    def unsigned(self, task: Task) -> Task | None:
        """Returns the equation with all signs turned, if a is negative; otherwise None.

        Args:
            task: Any problem.
        """
        if not isinstance(task, Function) or task.op != self.op:
            return None
        factor, shift, value = map(evaluate, task.args)
        return self.of(-factor, -shift, -value) if factor < 0 else None

    def imply(self, task: Function, given: Mapping[int, int]) -> Function:
        """Returns an equation with the same x and some given coefficients.

        Args:
            task: A problem of this family.
            given: Values of a and b by their index, 0 and 1.
        """
        factor, shift, value = map(evaluate, task.args)
        unknown = (value - shift) // factor
        factor = given.get(0, factor)
        shift = given.get(1, shift)
        return self.of(factor, shift, factor * unknown + shift)

    def with_signs(self, task: Function, rng: np.random.Generator) -> Function:
        """Returns an equation with a negative factor and the same b and x: others have signs already.

        Args:
            task: A problem of this family.
            rng: Makes no difference.
        """
        factor, shift, value = map(evaluate, task.args)
        return self.of(-factor, shift, 2 * shift - value)

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless exactly one integer solves the equation.

        Args:
            numbers: a, b and c.
        """
        super().check(numbers)
        factor, shift, value = numbers
        # 0*x+4=4 has every solution, 3*x+4=20 has none among integers.
        if factor == 0 or (value - shift) % factor:
            equation = f"{factor}*x{shift:+}={value}"
            raise ProblemError(f"{equation}; expected an equation with exactly one integer solution")

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Returns a, b and c in a form that is the same when all signs are turned, and when b and c change sides.

        Args:
            keys: The keys of a, b and c. If they are not three numbers, they stay as they are.
        """
        if not self.has_arity(len(keys)) or not all(key.lstrip("-").isdecimal() for key in keys):
            return list(keys)

        # -3*x-4=-19 is 3*x+4=19.
        factor, shift, value = map(int, keys)
        if factor < 0:
            factor = -factor
            shift = -shift
            value = -value

        # a*x+b=c is a*x-c=-b. Of b and -c, the smaller number is added to x; of two of the same size, the positive one.
        if (abs(value), shift) < (abs(shift), -value):
            shift, value = -value, -shift
        return [str(factor), str(shift), str(value)]

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of x.

        Args:
            numbers: a, b and c.
            least_first: Whether digits are written least significant first.
        """
        factor, shift, value = numbers
        return render((value - shift) // factor, least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Computes ``x = (c - b) / a``.

        Args:
            numbers: a, b and c.
            script: Receives the thinking.
        """
        factor, shift, value = numbers
        # A negative b makes "11 - -4", which is an expression.
        script.call(Binary(MINUS, value, shift))
        script.step()
        script.call(Binary(DIVIDE, value - shift, factor))
        return self.answer(numbers, least_first=True)


def _number_up_to(rng: np.random.Generator, size: int) -> int:
    """Draws a number of ``size`` digits half of the time, otherwise of 1 to ``size``."""
    return draw_number(rng, size if rng.random() < 0.5 else 1 + below(rng, size))
