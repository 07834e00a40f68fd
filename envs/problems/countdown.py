"""Countdown: make a target from numbers, each used exactly once. A search, in which every dead end is a child frame.

An answer is a formula. It is verified, not compared: any formula is right that has exactly the given numbers and,
computed with fractions, exactly the target as its value. ``_`` says that there is none, and is verified as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import cast

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Function, render
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import ID, NOTHING, OK, REVISE, WRONG
from o1nano.envs.problems.countdown_solver import (
    Number,
    Step,
    exact_value,
    first_step,
    formula,
    leaves,
    solvable,
    steps_from,
)
from o1nano.envs.problems.family import FunctionFamily, Script, below, draw_number

LARGEST = 10**6 - 1  # of the numbers and the target: bounds the cost of a verification
PATIENCE = 3  # candidates that the expert tries in a dead end of three numbers before it answers "_"; twice it of more


class Countdown(FunctionFamily):
    """``make(target, numbers...)``: a formula with ``+ - * /`` that uses every number exactly once."""

    name, op = "countdown", ID["make"]
    phrasings = ("make {a} from {list}", "find how to make {a} using all of {list}")
    arity = range(2, 8)

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws ``size + 1`` numbers, at most 6, and what a random calculation in whole numbers makes of them.

        By default the numbers are those of the television show, 1 to 10 and at most one of 25, 50, 75 and 100; with
        ``other`` they have at most so many digits. Values on the way have at most two digits more.
        """
        if other is not None and other > len(str(LARGEST)):
            raise ConfigurationError(f"numbers of {other} digits in Countdown; accepted: at most {len(str(LARGEST))}")
        count = min(size + 1, 6)
        if other is None:
            numbers = [int(number) for number in rng.integers(1, 11, count)]
            if rng.random() < 0.5:
                numbers[below(rng, count)] = (25, 50, 75, 100)[below(rng, 4)]
        else:
            numbers = [max(draw_number(rng, 1 + below(rng, other)), 1) for _ in range(count)]
        return self.of(_walk(numbers, rng, min(10 ** max(3, (other or 1) + 2) - 1, LARGEST)), *numbers)

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless there are a target and 1 to 6 numbers, none of them huge."""
        super().check(numbers)
        if max(numbers) > LARGEST:
            raise ProblemError(f"{max(numbers)} in a problem of Countdown; accepted: numbers from 0 to {LARGEST}")

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """The order of the numbers does not matter."""
        return [keys[0], *sorted(keys[1:])]

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns one of the right formulas, with whole numbers only if there is one; ``_`` if there is none.

        Every operation but the last is in parentheses.
        """
        found = formula(numbers[0], numbers[1:])
        return [NOTHING] if found is None else render(found, least_first)

    def accepts(self, numbers: tuple[int, ...], given: bytes, least_first: bool) -> bool:
        """Verifies a formula, or that there is none."""
        target, *rest = numbers
        if given == bytes([NOTHING]):
            return not solvable(target, tuple(rest))
        try:
            found = parse(list(given), least_first)
        except ProblemError:
            return False
        # Rendering it again tells leading zeros, signs, and parentheses round a number or twice apart.
        if isinstance(found, Function) or bytes(render(found, least_first)) != given:
            return False
        return sorted(leaves(found)) == sorted(rest) and exact_value(found) == target

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Tries an operation on two numbers, then calls the smaller problem; ``_`` from it is ``<wrong> <revise>``.

        Two numbers are searched in full and in order, more of them until patience ends: to search those in full would
        take thousands of tokens. If only fractions lead to the target, the formula is written down at once.
        """
        target, given = numbers[0], numbers[1:]
        for index, step in enumerate(self._tried(target, given, script)):
            script.write(*[REVISE] * bool(index))
            at = len(script.tokens) + 1
            script.call(step.binary)
            if step.rest:
                script.call(self.of(target, *cast(tuple[int, ...], step.left_over)))
                found = solvable(target, step.left_over)
            else:
                found = step.value == target
            script.write(OK if found else WRONG)
            if step.rest and not found:
                script.slipped += range(at, at + len(render(step.binary, least_first=True)))
        return self.answer(numbers, least_first=True)

    @staticmethod
    def _tried(target: int, given: tuple[int, ...], script: Script) -> list[Step]:
        """Returns what the expert tries, the right step last if there is one.

        It knows the right step, and demonstrates the same mistakes whether there is one or not: what has been tried
        must not tell, or a model that doubts tries what dead ends try, and then has to give up (docs/log.md).
        """
        steps = list({step.binary: step for step in steps_from(given)}.values())
        if len(given) == 2:
            values = [step.value for step in steps]
            return steps[: values.index(target) + 1] if target in values else steps
        right = first_step(target, given)
        if right is None and solvable(target, given):
            return []
        patience = PATIENCE if len(given) == 3 else 2 * PATIENCE
        mistakes = 0 if right else patience
        if right and script.rng is not None and script.slips():
            mistakes = below(script.rng, patience)
        order = range(len(steps)) if script.rng is None else script.rng.permutation(len(steps))
        dead_ends = (steps[index] for index in order if not solvable(target, steps[index].left_over))
        return [*islice(dead_ends, mistakes), *([right] if right else [])]


class GameOf24(Countdown):
    """Countdown with four numbers from 1 to 13, as on playing cards, and the target 24."""

    name = "game_of_24"

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws four cards that can be solved in whole numbers; there are no sizes."""
        while True:
            cards = tuple(int(card) for card in rng.integers(1, 14, 4))
            if first_step(24, cards):
                return self.of(24, *cards)


def _walk(numbers: Sequence[int], rng: np.random.Generator, largest: int) -> int:
    """Returns what a random calculation in whole numbers from 1 to ``largest`` makes of all the numbers."""
    left: tuple[Number, ...] = tuple(numbers)
    while len(left) > 1:
        steps = [step for step in steps_from(left) if 0 < step.value <= largest]
        left = steps[below(rng, len(steps))].left_over
    return cast(int, left[0])
