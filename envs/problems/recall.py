"""Recall: look up numbers in a long list of keys and values, and add or subtract them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import ID, MINUS, NOTHING, PLUS, digits_of
from o1nano.envs.problems.draws import draw_number
from o1nano.envs.problems.family import DEFAULT_FRAME_LENGTH, LongFamily
from o1nano.envs.problems.script import Script

KEY_DIGITS = 5
"""The same at every length, so that a longer context differs in nothing but its length."""
# Share of questions that ask for one number twice.
_SAME_KEY = 0.25


class Recall(LongFamily):
    """``recall(12345:67, 67890:5, ...) 67890+12345``: the value of one key plus or minus that of another, or its own.

    As a function of numbers, its arguments are the first key, the second key (negative if its value is subtracted), and
    keys and values in turn. Keys are different numbers from 1.

    The list stands before the question, so that one context serves many questions. The expert writes each key with the
    value that it finds, and calls the sum: ``<think> 6 7 8 9 0 _ 5 ; 1 2 3 4 5 _ 6 7 ; <call> 5 + 7 6 </call> «2 7»
    </think> 7 2 <eos>``.
    """

    name = "recall"
    op = ID["recall"]
    symbolic = "{op} ( {pairs} ) {a} {+b}"
    phrasings = (
        "in the list {pairs} what is the value of {a} {+b} ?",
        "using the list {pairs} find the value of {a} {+b}",
    )
    asks = ("addition", "subtraction")
    arity = (4, 128_000)
    allows_negative = True

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of all ways to ask."""
        return (*self.phrasings, self.symbolic, "{op} {pairs} for {a} {+b}")

    def sample(self, rng: np.random.Generator, size: int, tokens: int | None = None, /) -> Function:
        """Draws the lines that fill a frame, at least two, and a question about them.

        Args:
            rng: Source of all randomness.
            size: Digits of the values.
            tokens: Length of the frame; by default 128.
        """
        length = DEFAULT_FRAME_LENGTH if tokens is None else tokens
        # A line is a key, ":", a value and ",".
        room = max(length - self._question_room(size), 0)
        lines = max(room // (KEY_DIGITS + size + 2), 2)

        # Different keys with KEY_DIGITS digits, in random order.
        smallest_key = 10 ** (KEY_DIGITS - 1)
        keys = rng.choice(9 * smallest_key, lines, replace=False) + smallest_key

        pairs = []
        for key in keys.tolist():
            pairs += [key, draw_number(rng, size)]
        return self.question(rng, pairs)

    def question(self, rng: np.random.Generator, pairs: Sequence[int], line: int | None = None) -> Function:
        """Draws a question about a list.

        Args:
            rng: Source of all randomness.
            pairs: Keys and values in turn.
            line: Index of the line with the first key; by default it is drawn.
        """
        # Keys have even indices in ``pairs``, values odd ones.
        lines = len(pairs) // 2
        first = int(rng.integers(lines)) if line is None else line
        second = first if rng.random() < _SAME_KEY else int(rng.integers(lines))
        # The difference of a number and itself would need no look-up.
        sign = 1 if first == second or rng.random() < 0.5 else -1
        return self.of(pairs[2 * first], sign * pairs[2 * second], *pairs)

    @staticmethod
    def _question_room(size: int) -> int:
        """Returns the tokens of the question in its longest wording and of the thinking and answer to it."""
        return 60 + 6 * size

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless the list has keys and values, all keys are different, and both are in it.

        Args:
            numbers: Both keys of the question, then keys and values in turn.
        """
        super().check(numbers)
        if len(numbers) % 2:
            raise ProblemError(f"'recall' of {len(numbers)} arguments; expected an even number")

        # Arguments 2, 4, 6, ... are the keys of the list.
        keys = numbers[2::2]
        if min(numbers[2:]) < 0 or min(keys) < 1:
            raise ProblemError("a negative number or a key below 1 in a list; expected keys from 1 and values from 0")
        if len(set(keys)) < len(keys):
            raise ProblemError("a key twice in one list; expected different keys")

        # The second key of the question is negative in a difference.
        for key in (numbers[0], abs(numbers[1])):
            if key not in keys:
                raise ProblemError(f"key {key} is not in the list; expected one of its keys")

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """Sorts the lines, and the keys of a sum, since their order makes no difference.

        Args:
            keys: The keys of all arguments.
        """
        is_difference = keys[1].startswith("-")
        # a - b and b - a are different problems, a + b and b + a are not.
        ordered = list(keys[:2]) if is_difference else sorted(keys[:2])
        for key, value in sorted(zip(keys[2::2], keys[3::2], strict=True)):
            ordered += [key, value]
        return ordered

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the sum or the difference.

        Args:
            numbers: Both keys of the question, then keys and values in turn.
            least_first: Whether digits are written least significant first.
        """
        first, second = self._values(numbers)
        return render(first + second if numbers[1] > 0 else first - second, least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Writes each key with its value, then calls the sum or the difference.

        Args:
            numbers: Both keys of the question, then keys and values in turn.
            script: Receives the thinking.
        """
        first, second = self._values(numbers)
        for key, value in ((numbers[0], first), (abs(numbers[1]), second)):
            script.write(*digits_of(key, least_first=False), NOTHING, *digits_of(value, least_first=False))
            script.step()

        # Copying a number and computing with it are different skills: the call leaves only the copying to this frame.
        op = PLUS if numbers[1] > 0 else MINUS
        script.call(Binary(op, first, second))
        return self.answer(numbers, least_first=True)

    @staticmethod
    def _values(numbers: tuple[int, ...]) -> tuple[int, int]:
        """Returns the values of both keys of the question."""
        # Arguments 2, 4, ... are keys, 3, 5, ... their values.
        table = dict(zip(numbers[2::2], numbers[3::2], strict=True))
        return table[numbers[0]], table[abs(numbers[1])]
