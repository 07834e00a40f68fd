"""What a family of problems is, and the script on which its expert writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from o1nano.envs.expression import Binary, Expr, answer, render
from o1nano.envs.vocab import CALL, END_CALL, END_THINK, EOS, EQUALS, GOTO, STEP, THINK


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
        self.children: list[Expr] = []
        self.rng, self.slip_rate = rng, slip_rate

    def write(self, *tokens: int) -> None:
        """Emits tokens."""
        self.tokens += tokens
        self.emitted += [True] * len(tokens)

    def call(self, expr: Expr) -> list[int]:
        """Emits a call and returns the injected answer, least significant digit first."""
        self.write(CALL, *render(expr, least_first=True), END_CALL)
        self.children.append(expr)
        returned = answer(expr, least_first=True)
        self.tokens += returned
        self.emitted += [False] * len(returned)
        return returned

    def step(self) -> None:
        """Commits a step."""
        self.write(STEP)

    def tail_call(self, expr: Expr) -> None:
        """Emits a tail call; the frame ends with it."""
        self.write(GOTO, *render(expr, least_first=True), EQUALS)
        self.children.append(expr)

    def slips(self) -> bool:
        """Draws whether the expert makes a mistake now (never without a generator)."""
        return self.rng is not None and self.rng.random() < self.slip_rate

    def run(self, family: Family, expr: Binary) -> None:
        """Writes the whole frame: ``<think>``, the family's thinking, ``</think>``, answer, ``<eos>``."""
        self.write(THINK)
        result = family.think(expr, self)
        if result is not None:
            self.write(END_THINK, *result, EOS)


class Family(ABC):
    """A family of problems: how to draw one, how to say it, and how its expert thinks.

    Attributes:
        name: The name in keyword arguments, tables and TensorBoard.
        phrasings: Ways to say a problem with two operands; ``{a}`` and ``{b}`` stand for them.
    """

    name: str
    phrasings: tuple[str, ...]

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """Draws a problem.

        Args:
            rng: Source of all randomness.
            size: Digits of the longer operand.
            other: Digits of the second operand; by default ``size`` half of the time, otherwise 1 to ``size``.
        """

    @abstractmethod
    def think(self, expr: Binary, script: Script) -> Iterable[int] | None:
        """Writes the expert's thinking for a subtask of this family.

        Returns:
            The answer, least significant digit first, or None if the frame ended with a tail call.
        """


class TwoOperands(Family):
    """A family whose problems are ``a op b`` with non-negative operands.

    Attributes:
        op: The operator token.
    """

    op: int

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Binary:
        """Draws both operands by their numbers of digits."""
        if other is None:
            other = size if rng.random() < 0.5 else int(rng.integers(1, size + 1))
            if rng.random() < 0.5:
                return self.of_digits(rng, other, size)
        return self.of_digits(rng, size, other)

    def of_digits(self, rng: np.random.Generator, left: int, right: int) -> Binary:
        """Draws a problem with exactly these numbers of digits."""
        return Binary(self.op, draw_number(rng, left), draw_number(rng, right))


def draw_number(rng: np.random.Generator, digits: int) -> int:
    """Draws a number uniformly among those of exactly so many digits; 0 counts as one digit."""
    if digits == 1:
        return int(rng.integers(10))
    if digits <= 18:
        return int(rng.integers(10 ** (digits - 1), 10**digits))
    return int("".join(map(str, (int(rng.integers(1, 10)), *rng.integers(0, 10, digits - 1)))))


def digits_least_first(value: int) -> list[int]:
    """Returns the digits of a non-negative integer as numbers, units first."""
    return [int(digit) for digit in reversed(str(value))]
