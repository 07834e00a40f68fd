"""Countdown: make a target from numbers, each used exactly once. A search, in which every dead end is a child frame.

An answer is a formula. It is verified, not compared: a formula is right if it has exactly the given numbers and if its
value, computed with fractions, is exactly the target. ``_`` says that there is no formula, which is verified too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import cast

import numpy as np

from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.language.expression import Binary, Function, Task, evaluate, has_negation, render
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, NOTHING, OK, REVISE, WRONG, ZERO
from o1nano.envs.problems.countdown_search import Reduction, first_reduction, formula, reductions, trials
from o1nano.envs.problems.countdown_solver import MAX_NUMBER, Number, exact_value, leaves, left_overs, solvable
from o1nano.envs.problems.draws import below, digits_least_first
from o1nano.envs.problems.family import FunctionFamily
from o1nano.envs.problems.script import Script

MAX_NUMBERS = 6
"""Most numbers that a formula is made of."""

# Of the Game of 24.
_TARGET = 24
_HIGHEST_CARD = 13
_LARGE_NUMBERS = (25, 50, 75, 100)
_LARGEST_TARGET = 999
# Of numbers and targets that are drawn uniformly.
_MAX_DIGITS = 2
# Problems without a solution that people may ask: their share, their largest size and target.
_HOPELESS = 0.1
_LARGEST_HOPELESS = 2
_HOPELESS_TARGETS = 100


class Countdown(FunctionFamily):
    """``make(target, numbers...)``: a formula with ``+ - * /`` that uses every number exactly once."""

    name = "countdown"
    op = ID["make"]
    phrasings = ("make {a} from {list}", "find how to make {a} using all of {list}")
    orders = (
        "make {a} using {listed}",
        "make {a} with {listed}",
        "make {a} out of {listed}",
        "get {a} from {listed}",
        "reach {a} with {listed}",
        "use {listed} to make {a}",
        "how do you make {a} from {listed} ?",
    )
    size_name: str | None = "numbers"
    first_value = 2
    default_sizes = (3, 6)
    extra_name: str | None = "number_digits"
    arity = (2, 1 + MAX_NUMBERS)

    def sample(self, rng: np.random.Generator, size: int, number_digits: int | None = None, /) -> Function:
        """Draws numbers and a target that they can make in whole numbers.

        Args:
            rng: Source of all randomness.
            size: The number of operations in a formula, which is one less than the number of numbers.
            number_digits: By default the numbers are those of the television show, 1 to 10 and half of the time one of
                25, 50, 75 and 100, and the target is what a random calculation makes of them. With 2, the numbers are
                1 to 99 and the target is 1 to 100, all drawn uniformly until they can be solved, in the manner of
                TinyZero's public generator (Pan et al. 2025). With 1 they are 1 to 9 and 1 to 10.

        Raises:
            ConfigurationError: If there are more than 6 numbers, or if they have more than 2 digits: of larger ones
                nearly no draw can be solved.
        """
        # An operation makes one number of two.
        count = size + 1
        if count > MAX_NUMBERS:
            raise ConfigurationError(f"{count} numbers in Countdown; expected 2 to {MAX_NUMBERS}")
        if number_digits is None:
            numbers = _draw_show_numbers(rng, count)
            return self.of(_random_target(numbers, rng), *numbers)
        if not 1 <= number_digits <= _MAX_DIGITS:
            raise ConfigurationError(f"numbers of {number_digits} digits in Countdown; expected 1 to {_MAX_DIGITS}")

        end = 10**number_digits
        while True:
            target = 1 + below(rng, end)
            drawn = tuple(1 + below(rng, end - 1) for _ in range(count))
            if solvable(target, drawn, fractions=False):
                return self.of(target, *drawn)

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws a problem of the same kind, but of two or three numbers in a few draws one without a solution.

        Of more numbers there is none: who has learned to give up a whole problem gives up some that have a solution.

        Args:
            rng: Source of all randomness.
            size: The number of operations in a formula.
        """
        task = self.sample(rng, size)
        if size > _LARGEST_HOPELESS or rng.random() >= _HOPELESS:
            return task

        numbers = tuple(map(evaluate, task.args[1:]))
        while True:
            target = 1 + below(rng, _HOPELESS_TARGETS)
            if not solvable(target, numbers):
                return self.of(target, *numbers)

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns the number of operations in a formula.

        Args:
            task: Any problem.
            extra: Makes no difference.
        """
        if not isinstance(task, Function) or task.op != self.op:
            return None
        # Target and one number need none, but a problem of size 1 has two numbers.
        return max(1, len(task.args) - 2)

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless there are a target and 1 to 6 numbers, none of them too large.

        Args:
            numbers: Target and numbers.
        """
        super().check(numbers)
        if max(numbers) > MAX_NUMBER:
            raise ProblemError(f"{max(numbers)} in a problem of Countdown; expected numbers from 0 to {MAX_NUMBER}")

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Sorts the numbers, since their order makes no difference.

        Args:
            keys: The keys of target and numbers.
        """
        return [keys[0], *sorted(keys[1:])]

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns one of the right formulas, in whole numbers if there is one, or ``_``.

        Every operation but the last is in parentheses.

        Args:
            numbers: Target and numbers.
            least_first: Whether digits are written least significant first.
        """
        # Reversed digits are the only difference between root and subtask.
        found = formula(numbers[0], numbers[1:])
        return [NOTHING] if found is None else render(found, least_first)

    def accepts(self, numbers: tuple[int, ...], given: bytes, least_first: bool) -> bool:
        """Verifies a formula, or the claim that none exists.

        Args:
            numbers: Target and numbers.
            given: The answer as token bytes.
            least_first: Whether its digits are written least significant first.
        """
        target = numbers[0]
        if given == bytes([NOTHING]):
            return not solvable(target, numbers[1:])

        # Without functions: a formula is arithmetic.
        try:
            found = parse(list(given), least_first, functions={})
        except ProblemError:
            return False

        # Written again, it must be the same: leading zeros, words, and parentheses around a number or twice are not.
        if isinstance(found, Function) or bytes(render(found, least_first)) != given:
            return False
        # "-(3-8)" has operations on two numbers only if the sign is one on 0, which is not among the numbers.
        if MINUS in given and has_negation(found):
            return False
        return sorted(leaves(found)) == sorted(numbers[1:]) and exact_value(found) == target

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Guesses the last operation of the formula and one operand, and calls the smaller problem that this leaves.

        After ``_`` it continues with the next guess, in a fixed order, so a frame follows from its prompt. If only
        fractions lead to the target, the formula is written at once.

        Args:
            numbers: Target and numbers.
            script: Receives the thinking.
        """
        target = numbers[0]
        given = numbers[1:]
        if len(given) == 2:
            self._try_operations(target, given, script)
        elif len(given) > 2:
            self._try_reductions(target, given, script)
        return self.answer(numbers, least_first=True)

    @staticmethod
    def _try_operations(target: int, pair: tuple[int, ...], script: Script) -> None:
        """Calls the operations on two numbers that may make the target, until one does."""
        for index, trial in enumerate(trials(target, pair)):
            if index > 0:
                script.write(REVISE)
            script.call(trial.question)
            script.step()
            _compare(trial.value, trial.wanted, script)
            script.write(OK if trial.value == trial.wanted else WRONG)
            if trial.value == trial.wanted:
                return

    def _try_reductions(self, target: int, given: tuple[int, ...], script: Script) -> None:
        """Calls what a reduction asks, then the smaller problem, until one can be solved."""
        # A division that is known to have a remainder is a mistake.
        shown = [each for each in self._tried(target, given) if each.is_asked or script.draw_mistake()]

        # The first guess is often a division, so a model may divide the target by itself.
        if shown and target not in given and target > 0 and _draw_slip(script):
            _slip(Binary(DIVIDE, target, target), script)
        for index, reduction in enumerate(shown):
            if index > 0:
                script.write(REVISE)
            calls = [each for each in (reduction.operand, reduction.question) if isinstance(each, Binary)]
            # Which of two numbers is the larger one is easily mistaken.
            first = calls[0]
            if first.op == MINUS and first.left != first.right and _draw_slip(script):
                _slip(Binary(MINUS, first.right, first.left), script)
            _call(first, not reduction.is_asked, script)
            for operation in calls[1:]:
                script.call(operation)

            # A division with a remainder leaves no smaller problem.
            if isinstance(reduction.missing, int) and not reduction.is_too_large:
                script.call(self.of(reduction.missing, *reduction.rest))
            script.write(OK if reduction.is_solvable else WRONG)

    @staticmethod
    def _tried(target: int, given: tuple[int, ...]) -> list[Reduction]:
        """Returns the reductions that the expert tries; the last one is right if there is a right one."""
        right = first_reduction(target, given)
        if right is None:
            return [] if solvable(target, given) else reductions(target, given)
        every = reductions(target, given)
        return every[: every.index(right) + 1]


class GameOf24(Countdown):
    """Countdown with four numbers from 1 to 13, as on playing cards, and the target 24. There is only one size."""

    name = "game_of_24"
    size_name = None
    extra_name = None

    def size_of(self, task: Task, extra: int | None = None) -> int | None:
        """Returns 1 if a problem asks for 24 from four cards.

        Args:
            task: Any problem.
            extra: Makes no difference.
        """
        if not isinstance(task, Function) or task.op != self.op:
            return None
        target, *cards = map(evaluate, task.args)
        is_of_cards = target == _TARGET and len(cards) == 4 and max(cards) <= _HIGHEST_CARD and min(cards) >= 1
        return 1 if is_of_cards else None

    def sample_everyday(self, rng: np.random.Generator, size: int, /) -> Function:
        """Draws four cards as ``sample`` does.

        Args:
            rng: Source of all randomness.
            size: Makes no difference.
        """
        return self.sample(rng, size)

    def sample(self, rng: np.random.Generator, size: int, extra: int | None = None, /) -> Function:
        """Draws four cards that make 24 in whole numbers.

        Args:
            rng: Source of all randomness.
            size: Makes no difference.
            extra: Makes no difference.
        """
        # Some hands cannot be solved, or only with fractions.
        while True:
            cards = tuple(int(card) for card in rng.integers(1, _HIGHEST_CARD + 1, 4))
            if solvable(_TARGET, cards, fractions=False):
                return self.of(_TARGET, *cards)


def _draw_slip(script: Script) -> bool:
    """Draws whether the expert calls a wrong operation by a slip, which is rarer than other mistakes."""
    return script.draw_mistake() and script.draw_mistake()


def _slip(operation: Binary, script: Script) -> None:
    """Calls a wrong operation, and revises it.

    Args:
        operation: The operation.
        script: Receives the call.
    """
    _call(operation, True, script)
    script.write(WRONG, REVISE)


def _call(operation: Binary, is_mistake: bool, script: Script) -> None:
    """Calls an operation.

    Args:
        operation: The operation.
        is_mistake: Whether it is not to be imitated.
        script: Receives the call.
    """
    # The operation stands after "<call>".
    start = len(script.tokens) + 1
    script.call(operation)
    if is_mistake:
        script.mistakes += range(start, start + len(render(operation, least_first=True)))


def _compare(value: int, wanted: int, script: Script) -> None:
    """Writes the differences of the digits of two numbers, units first, up to the first one that is not 0.

    A model cannot see at a glance whether two numbers are equal.
    """
    for one, other in zip_longest(digits_least_first(value), digits_least_first(wanted), fillvalue=0):
        script.write(ZERO + (one - other) % 10)
        if one != other:
            return


def _draw_show_numbers(rng: np.random.Generator, count: int) -> list[int]:
    """Draws numbers from 1 to 10; half of the time one of them is replaced by a large one."""
    # Python's integers, since NumPy's overflow in products.
    numbers = [int(number) for number in rng.integers(1, 11, count)]
    if rng.random() < 0.5:
        large = _LARGE_NUMBERS[below(rng, len(_LARGE_NUMBERS))]
        numbers[below(rng, count)] = large
    return numbers


def _random_target(numbers: Sequence[int], rng: np.random.Generator) -> int:
    """Returns what a random calculation in whole numbers from 1 to 999 makes of all the numbers."""
    # Numbers that are not used yet. At least one step always stays in the range: of two numbers, their difference or a
    # quotient of 1.
    left: tuple[Number, ...] = tuple(numbers)
    while len(left) > 1:
        steps = [each for each in left_overs(left) if 0 < each[0] <= _LARGEST_TARGET]
        left = steps[below(rng, len(steps))]
    return cast(int, left[0])
