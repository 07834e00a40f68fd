"""What a family of problems is, and the script on which its expert writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, Task, answer, evaluate, render
from o1nano.envs.language.vocab import CALL, END_CALL, END_THINK, EOS, EQUALS, GOTO, STEP, THINK, TOKENS

T = TypeVar("T", Binary, Function)
_EXACT_DIGITS = 15  # so many can be drawn at once: see ``below``


class Script:
    """One frame as the expert writes it: tokens, which of them are the agent's, and the subtasks it called.

    Attributes:
        tokens: The whole frame, prompt and injected answers included.
        emitted: For each token, whether an agent emits it (prompts and injected answers are not actions).
        slipped: Indices of tokens that are wrong on purpose: to be repaired, not to be imitated.
        children: The subtasks in the order of their calls; a tail call is the last one.
        slip_rate: Probability of a wrong first guess where a family can guess, so that revision is demonstrated.
    """

    def __init__(self, prompt: Sequence[int], rng: np.random.Generator | None = None, slip_rate: float = 0.0) -> None:
        self.tokens = list(prompt)
        self.emitted = [False] * len(prompt)
        self.slipped: list[int] = []
        self.children: list[Task] = []
        self.rng, self.slip_rate = rng, slip_rate

    def write(self, *tokens: int) -> None:
        """Emits tokens."""
        self.tokens += tokens
        self.emitted += [True] * len(tokens)

    def call(self, task: Task) -> list[int]:
        """Emits a call and returns the injected answer, least significant digit first."""
        self.write(CALL, *render(task, least_first=True), END_CALL)
        self.children.append(task)
        returned = answer(task, least_first=True)
        self.tokens += returned
        self.emitted += [False] * len(returned)
        return returned

    def step(self) -> None:
        """Commits a step."""
        self.write(STEP)

    def tail_call(self, task: Task) -> None:
        """Emits a tail call; the frame ends with it."""
        self.write(GOTO, *render(task, least_first=True), EQUALS)
        self.children.append(task)

    def slips(self) -> bool:
        """Draws whether the expert makes a mistake now (never without a generator)."""
        return self.rng is not None and self.rng.random() < self.slip_rate

    def run(self, family: Family[Any], task: Task) -> None:
        """Writes the whole frame: ``<think>``, the family's thinking, ``</think>``, answer, ``<eos>``."""
        self.write(THINK)
        result = family.think(task, self)
        if result is not None:
            self.write(END_THINK, *result, EOS)


class Family(ABC, Generic[T]):
    """A family of problems: how to draw one, how to say it, and how its expert thinks.

    Attributes:
        name: The name in keyword arguments, tables and TensorBoard.
        symbolic: The way to say a problem in symbols, as a template: see ``templates``.
        phrasings: Ways to say it in words.
        asks: Families whose problems a frame of this one may ask; None: any.
        long: Whether a problem fills a frame. Its ``other`` is then the length of that frame, and a root works on it in
            place: handing it on would take the same length again.
    """

    name: str
    symbolic: str = "{expr}"
    phrasings: tuple[str, ...]
    asks: tuple[str, ...] | None = None
    long: bool = False

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> T:
        """Draws a problem.

        Args:
            rng: Source of all randomness.
            size: Digits of the longer operand.
            other: Digits of the second operand; by default ``size`` half of the time, otherwise 1 to ``size``.
        """

    @abstractmethod
    def think(self, expr: T, script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking for a subtask of this family.

        Returns:
            The answer, least significant digit first, or None if the frame ended with a tail call.
        """


class TwoOperands(Family[Binary]):
    """A family whose problems are ``a op b`` with non-negative operands.

    Attributes:
        op: The operator token.
    """

    op: int

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """Draws both operands by their numbers of digits."""
        if other is None:
            other = size if rng.random() < 0.5 else 1 + below(rng, size)
            if rng.random() < 0.5:
                return self.of_digits(rng, other, size)
        return self.of_digits(rng, size, other)

    def of_digits(self, rng: np.random.Generator, left: int, right: int) -> Binary:
        """Draws a problem with exactly these numbers of digits."""
        return Binary(self.op, draw_number(rng, left), draw_number(rng, right))


class FunctionFamily(Family[Function]):
    """A family whose problems are a function of numbers: ``gcd(48, 36)``, in a subtask ``gcd 8 4 , 6 3``.

    Attributes:
        op: The function token.
        arity: How many arguments are accepted.
        negative: Whether negative ones are.
        commutative: Whether their order does not matter.
    """

    op: int
    symbolic = "{op} ( {list} )"
    arity = range(1, 101)
    negative = False
    commutative = False

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of all ways to ask for the function."""
        symbolic = self.symbolic
        return (*self.phrasings, symbolic, f"calculate {symbolic}", f"what is {symbolic}", "{op} {list}")

    def of(self, *numbers: int) -> Function:
        """Returns the problem for some numbers."""
        return Function(self.op, numbers)

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless the function has a value for these numbers."""
        name = TOKENS[self.op]
        if len(numbers) not in self.arity:
            low, high = self.arity[0], self.arity[-1]
            accepted = str(low) if low == high else f"{low} to {high}"
            raise ProblemError(f"{name!r} of {len(numbers)} arguments; accepted: {accepted}")
        if not self.negative and min(numbers) < 0:
            raise ProblemError(f"{name!r} of {min(numbers)}; accepted: numbers from 0")

    @abstractmethod
    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the exact answer for numbers that have been checked."""

    def accepts(self, numbers: tuple[int, ...], given: bytes, least_first: bool) -> bool:
        """Tells whether an answer is exactly right: here, whether it is the only right one."""
        return given == bytes(self.answer(numbers, least_first))

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Orders the keys of arguments so that problems of the same content share them."""
        return sorted(keys) if self.commutative else list(keys)

    def think(self, expr: Function, script: Script) -> Iterable[int] | None:
        """Calls the first argument that is no number yet and tail-calls the rest; then takes the family's steps."""
        for index, arg in enumerate(expr.args):
            if isinstance(arg, Binary):
                script.call(arg)
                script.step()
                script.tail_call(Function(expr.op, (*expr.args[:index], evaluate(arg), *expr.args[index + 1 :])))
                return None
        return self.steps(tuple(map(evaluate, expr.args)), script)

    @abstractmethod
    def steps(self, numbers: tuple[int, ...], script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking for numbers; returns as ``think`` does."""


def below(rng: np.random.Generator, bound: int) -> int:
    """Draws an integer from 0 to ``bound - 1``, which must be less than 2 to the 53.

    A scalar draw of ``rng.integers`` takes several times as long, and was the largest part of drawing a problem.
    """
    drawn: float = rng.random()
    return int(drawn * bound)


def draw_number(rng: np.random.Generator, digits: int) -> int:
    """Draws a number uniformly among those of exactly so many digits; 0 counts as one digit."""
    if digits == 1:
        return below(rng, 10)
    if digits <= _EXACT_DIGITS:
        least: int = 10 ** (digits - 1)
        return least + below(rng, 9 * least)
    return int("".join(map(str, (1 + below(rng, 9), *rng.integers(0, 10, digits - 1)))))


def digits_least_first(value: int) -> list[int]:
    """Returns the digits of a non-negative integer as numbers, units first."""
    return [int(digit) for digit in reversed(str(value))]
