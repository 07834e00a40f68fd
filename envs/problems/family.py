"""What a family of problems is: how to draw a problem, how to say it, what is right, and how the expert thinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, Task, evaluate
from o1nano.envs.language.vocab import TOKENS
from o1nano.envs.problems.draws import below, draw_number, draw_signs, round_off
from o1nano.envs.problems.measures import absolute, is_negative, most_digits, numbers_of

if TYPE_CHECKING:
    # A script computes the answers of calls, for which it needs the registry of families.
    from o1nano.envs.problems.script import Script

T = TypeVar("T", Binary, Function)

DEFAULT_FRAME_LENGTH = 128
"""Tokens of the frame that a long problem fills unless its level says otherwise."""
ROUND_NUMBERS = 0.15
"""Share of problems with round numbers among those that people ask."""


class Family(ABC, Generic[T]):
    """A family of problems.

    Attributes:
        name: The name in keyword arguments, tables and TensorBoard.
        symbolic: The template that says a problem in symbols: see ``language.templates``.
        phrasings: Templates that say it in words.
        nouns: Further templates, of everyday speech, for what is asked: ``half of {a} {b=2}``. An opening such as
            "what's" may stand before them.
        orders: Further templates, of everyday speech, for whole sentences: ``subtract {b} from {a}``.
        size_name: Keyword argument of the environments that sets the sizes; None if there is only size 1.
        first_value: The value of that keyword argument at size 1.
        default_sizes: The smallest and the largest value of that keyword argument by default.
        extra_name: Keyword argument of the environments that sets the second parameter, ``Level.extra``; None if the
            family has no second parameter.
        asks: Names of the families whose problems a frame of this one may call; None for all families.
        solved_in_place: Whether a root frame does the work itself, because a problem fills a whole frame. Other roots
            hand their problem to a subtask.
    """

    name: str
    symbolic: str = "{expr}"
    phrasings: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    size_name: str | None = "digits"
    first_value: int = 1
    default_sizes: tuple[int, int] = (1, 3)
    extra_name: str | None = "second_digits"
    asks: tuple[str, ...] | None = None
    solved_in_place: bool = False

    @property
    def operators(self) -> tuple[int, ...]:
        """Operator and function tokens whose problems belong to the family.

        Of several families with the same token, the problems belong to the one that was registered first.
        """
        return ()

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of the ways to ask for the family's operator that the grammar of arithmetic does not have."""
        return (*self.nouns, *self.orders)

    @property
    def origin(self) -> Family[Any]:
        """The family whose problems these are: itself, unless it draws those of another one (see ``derived``)."""
        return self

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the smallest size whose levels have problems like a given one; None if no level of the family has.

        So a model that was trained on sizes up to 3 has been shown the problems with sizes up to 3.

        Args:
            task: Any problem.
            extra: Second parameter of the level.
        """
        return None

    def unsigned(self, task: Task) -> Task | None:
        """Returns a problem without its signs, if it has signs that this family does not draw; otherwise None.

        Args:
            task: Any problem.
        """
        return absolute(task) if is_negative(task) else None

    def imply(self, task: T, given: Mapping[int, int]) -> T:
        """Returns a problem in which some arguments have the values that a template implies.

        Args:
            task: A problem of this family.
            given: Values by the index of their argument: {1: 2} for "half of".
        """
        if isinstance(task, Binary):
            return replace(task, left=given.get(0, task.left), right=given.get(1, task.right))
        assert isinstance(task, Function)

        # Arguments that the template does not imply stay as they were drawn.
        args = (given.get(index, arg) for index, arg in enumerate(task.args))
        return replace(task, args=tuple(args))

    def with_signs(self, task: T, rng: np.random.Generator) -> T:
        """Returns a problem with signs before some of its numbers and parentheses.

        Args:
            task: A problem of this family.
            rng: Source of all randomness.
        """
        if isinstance(task, Function):
            return replace(task, args=tuple(draw_signs(arg, rng) for arg in task.args))
        signed = draw_signs(task, rng)
        assert isinstance(signed, Binary)
        return signed

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int, extra: int | None = None, /) -> T:
        """Draws a problem.

        Args:
            rng: Source of all randomness.
            size: Size of the level: by default the digits of the longer operand.
            extra: Second parameter of the level, with the meaning of ``extra_name``; None draws it.
        """

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> T:
        """Draws a problem as people ask it: also in forms that ``sample`` never has, such as round numbers.

        The problems of ``sample`` are those of the registered ids, which stay the same. By default there are no others.

        Args:
            rng: Source of all randomness.
            size: Size of the level, which no number exceeds.
        """
        return self.sample(rng, size)

    @abstractmethod
    def think(self, task: T, script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking in a subtask of this family.

        Args:
            task: The problem.
            script: Receives the thinking.

        Returns:
            The answer, least significant digit first, or None if the frame ended with a tail call.
        """


class TwoOperands(Family[Binary]):
    """A family whose problems are ``a op b`` with non-negative operands.

    Attributes:
        op: Token of the operator.
    """

    op: int

    @property
    def operators(self) -> tuple[int, ...]:
        """The operator."""
        return (self.op,)

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longer operand; of the first one if there are digits of the second.

        Args:
            task: Any problem.
            extra: Most digits of the second operand.
        """
        if not isinstance(task, Binary) or task.op != self.op:
            return None

        # Expressions as operands, and negative ones, are drawn by other families.
        left = task.left
        right = task.right
        if not (isinstance(left, int) and isinstance(right, int)) or min(left, right) < 0:
            return None
        if extra is None:
            return most_digits((left, right))
        return most_digits((left,)) if most_digits((right,)) <= extra else None

    def sample(self, rng: np.random.Generator, size: int, second_digits: int | None = None, /) -> Binary:
        """Draws both operands by their numbers of digits.

        Args:
            rng: Source of all randomness.
            size: Digits of the longer operand; of the first one if ``second_digits`` is given.
            second_digits: Digits of the second operand. By default the shorter operand has ``size`` digits half of the
                time, otherwise 1 to ``size``, and either operand may be the shorter one.
        """
        if second_digits is not None:
            return self.of_digits(rng, size, second_digits)

        # Half of the problems have operands of the same length: those are the hardest of a size.
        shorter = size if rng.random() < 0.5 else 1 + below(rng, size)
        if rng.random() < 0.5:
            return self.of_digits(rng, shorter, size)
        return self.of_digits(rng, size, shorter)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Binary:
        """Draws both operands; in a part of the problems round ones, as in ``12000/1000``.

        Args:
            rng: Source of all randomness.
            size: Digits of the longer operand.
        """
        task = self.sample(rng, size)
        if rng.random() >= ROUND_NUMBERS:
            return task
        assert isinstance(task.left, int) and isinstance(task.right, int)
        left = round_off(task.left, rng)
        right = round_off(task.right, rng)
        return replace(task, left=left, right=right)

    def of_digits(self, rng: np.random.Generator, left: int, right: int) -> Binary:
        """Draws a problem with given numbers of digits.

        Args:
            rng: Source of all randomness.
            left: Digits of the first operand.
            right: Digits of the second operand.
        """
        # In this order: another one would draw other problems from the same seeds.
        first = draw_number(rng, left)
        second = draw_number(rng, right)
        return Binary(self.op, first, second)


class FunctionFamily(Family[Function]):
    """A family whose problems are a function of numbers: ``gcd(48, 36)``, in a subtask ``gcd 8 4 , 6 3``.

    Attributes:
        op: Token of the function.
        arity: The number of arguments, or the smallest and the largest number.
        allows_negative: Whether arguments may be negative.
        commutative: Whether the order of the arguments makes no difference.
    """

    op: int
    symbolic = "{op} ( {list} )"
    arity: int | tuple[int, int] = (1, 100)
    allows_negative = False
    commutative = False

    @property
    def operators(self) -> tuple[int, ...]:
        """The function token."""
        return (self.op,)

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of all ways to ask for the function."""
        # What may stand before arithmetic may stand before a function: "calculate gcd(4, 6)".
        symbolic = self.symbolic
        formal = (*self.phrasings, symbolic, f"calculate {symbolic}", f"what is {symbolic}", "{op} {list}")
        return (*formal, *super().readings)

    def of(self, *numbers: int) -> Function:
        """Returns the problem for some numbers.

        Args:
            numbers: The arguments.
        """
        return Function(self.op, numbers)

    def rounded(self, task: Function, rng: np.random.Generator) -> Function:
        """Returns a problem with round numbers in a part of the draws, otherwise the same one: ``gcd(4800, 360)``.

        Args:
            task: A problem of this family, whose arguments are numbers that are not negative.
            rng: Source of all randomness.
        """
        if rng.random() >= ROUND_NUMBERS:
            return task
        return self.of(*(round_off(evaluate(arg), rng) for arg in task.args))

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the digits of the longest number, provided that none is negative.

        Args:
            task: Any problem.
            extra: Makes no difference.
        """
        if not isinstance(task, Function) or task.op != self.op or is_negative(task):
            return None
        return most_digits(numbers_of(task))

    def has_arity(self, count: int) -> bool:
        """Returns True if the function takes a number of arguments.

        Args:
            count: The number of arguments.
        """
        low, high = self._arity_range
        return low <= count <= high

    @property
    def _arity_range(self) -> tuple[int, int]:
        return (self.arity, self.arity) if isinstance(self.arity, int) else self.arity

    def check(self, numbers: tuple[int, ...]) -> None:
        """Checks that the function has a value for some numbers.

        Args:
            numbers: The arguments.

        Raises:
            ProblemError: If it has none.
        """
        name = TOKENS[self.op]

        # Parsing does not count arguments: "gcd(4, 6, 8)" is refused here.
        if not self.has_arity(len(numbers)):
            low, high = self._arity_range
            expected = str(low) if low == high else f"{low} to {high}"
            raise ProblemError(f"{name!r} of {len(numbers)} arguments; expected {expected}")
        if not self.allows_negative and min(numbers) < 0:
            raise ProblemError(f"{name!r} of {min(numbers)}; expected numbers from 0")

    @abstractmethod
    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the exact answer.

        Args:
            numbers: Arguments that ``check`` has accepted.
            least_first: Whether numbers are written least significant digit first, as in subtasks.
        """

    def accepts(self, numbers: tuple[int, ...], given: bytes, least_first: bool) -> bool:
        """Returns True if an answer is exactly right. By default that is the one of ``answer``.

        Args:
            numbers: Arguments that ``check`` has accepted.
            given: The answer as token bytes.
            least_first: Whether its numbers are written least significant digit first.
        """
        return given == bytes(self.answer(numbers, least_first))

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Orders the keys of arguments so that all rearrangements of a problem have the same list.

        Args:
            keys: The key of each argument: see ``registry.canonical``.
        """
        return sorted(keys) if self.commutative else list(keys)

    def think(self, task: Function, script: Script) -> Iterable[int] | None:
        """Calls the first argument that is an expression and tail-calls the rest; then takes the family's steps.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        for index, arg in enumerate(task.args):
            if isinstance(arg, Binary):
                script.call(arg)
                script.step()

                # The same function, with the value in place of the expression.
                reduced = (*task.args[:index], evaluate(arg), *task.args[index + 1 :])
                script.tail_call(Function(task.op, reduced))
                return None
        return self.steps(tuple(map(evaluate, task.args)), script)

    @abstractmethod
    def steps(self, numbers: tuple[int, ...], script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking for numbers.

        Args:
            numbers: The arguments.
            script: Receives the thinking.

        Returns:
            The answer, least significant digit first, or None if the frame ended with a tail call.
        """


class LongFamily(FunctionFamily):
    """A function of very many numbers: a problem fills a frame, whose length in tokens is its second parameter."""

    extra_name = "tokens"
    solved_in_place = True

    def think(self, task: Function, script: Script) -> Iterable[int] | None:
        """Calls every argument that is an expression, then takes the family's steps: a root cannot tail-call.

        Args:
            task: The problem.
            script: Receives the thinking.
        """
        for arg in task.args:
            if isinstance(arg, Binary):
                # The value stays in the frame, after the call.
                script.call(arg)
                script.step()
        return self.steps(tuple(map(evaluate, task.args)), script)
