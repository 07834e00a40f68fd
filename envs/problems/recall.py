"""Recall: numbers that stand somewhere in a long list of keys and values, and a sum or a difference of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function, render
from o1nano.envs.language.vocab import ID, MINUS, NOTHING, PLUS, digits_of
from o1nano.envs.problems.family import Script, draw_number
from o1nano.envs.problems.long import SHORT, LongFamily

KEY_DIGITS = 5  # the same at every length, so that a longer context differs in nothing but its length
_SAME = 0.25  # share of questions that ask for one number twice


class Recall(LongFamily):
    """``recall(12345:67, 67890:5, ...) 67890+12345``: the value of one key plus or minus that of another, or its own.

    As a function of numbers: the first key; the second, negative if its value is to be subtracted; then keys and values
    in turn. Keys are numbers from 1, all different. ``size`` is the number of digits of the values.

    The list stands before the question, so one context serves many questions. The expert writes each key down with the
    value that it finds, and calls the sum: ``<think> 6 7 8 9 0 _ 5 ; 1 2 3 4 5 _ 6 7 ; <call> 5 + 7 6 </call> «2 7»
    </think> 7 2 <eos>``.
    """

    name, op = "recall", ID["recall"]
    symbolic = "{op} ( {pairs} ) {a} {+b}"
    phrasings = (
        "in the list {pairs} what is the value of {a} {+b} ?",
        "using the list {pairs} find the value of {a} {+b}",
    )
    asks = ("addition", "subtraction")
    arity = range(4, 128_001, 2)
    negative = True

    @property
    def readings(self) -> tuple[str, ...]:
        """Templates of all ways to ask."""
        return (*self.phrasings, self.symbolic, "{op} {pairs} for {a} {+b}")

    def sample(self, rng: np.random.Generator, size: int, other: int | None = None) -> Function:
        """Draws as many lines as a frame of ``other`` tokens has room for, at least two, and a question."""
        lines = max((SHORT if other is None else other) - self._room(size), 0) // (KEY_DIGITS + size + 2)
        keys = rng.choice(9 * 10 ** (KEY_DIGITS - 1), max(lines, 2), replace=False) + 10 ** (KEY_DIGITS - 1)
        pairs = [number for key in keys.tolist() for number in (key, draw_number(rng, size))]
        return self.question(rng, pairs)

    def question(self, rng: np.random.Generator, pairs: Sequence[int], line: int | None = None) -> Function:
        """Draws a question about keys and values; ``line`` says where the first value stands."""
        lines = len(pairs) // 2
        first = int(rng.integers(lines)) if line is None else line
        second = first if rng.random() < _SAME else int(rng.integers(lines))
        sign = 1 if first == second or rng.random() < 0.5 else -1
        return self.of(pairs[2 * first], sign * pairs[2 * second], *pairs)

    @staticmethod
    def _room(size: int) -> int:
        """Tokens of the question in its longest wording, and of the answer to it."""
        return 60 + 6 * size

    def check(self, numbers: tuple[int, ...]) -> None:
        """Raises ``ProblemError`` unless both keys stand in the list, once."""
        super().check(numbers)
        keys = numbers[2::2]
        if min(numbers[2:]) < 0 or min(keys) < 1:
            raise ProblemError("a negative number or a key below 1 in a list; accepted: keys from 1, values from 0")
        if len(set(keys)) < len(keys):
            raise ProblemError("a key twice in one list; accepted: different keys")
        for key in (numbers[0], abs(numbers[1])):
            if key not in keys:
                raise ProblemError(f"key {key} is not in the list; accepted: a key that is")

    def canonical(self, keys: Sequence[str]) -> list[str]:
        """The order of the lines does not matter, nor that of the summands."""
        asked = list(keys[:2]) if keys[1].startswith("-") else sorted(keys[:2])
        return asked + [part for pair in sorted(zip(keys[2::2], keys[3::2], strict=True)) for part in pair]

    def answer(self, numbers: tuple[int, ...], least_first: bool) -> list[int]:
        """Returns the tokens of the sum or the difference."""
        first, second = self._values(numbers)
        return render(first + second if numbers[1] > 0 else first - second, least_first)

    def steps(self, numbers: tuple[int, ...], script: Script) -> list[int]:
        """Key, value; key, value; one call."""
        values = self._values(numbers)
        for key, value in zip((numbers[0], abs(numbers[1])), values, strict=True):
            script.write(*digits_of(key, False), NOTHING, *digits_of(value, False))
            script.step()
        script.call(Binary(PLUS if numbers[1] > 0 else MINUS, *values))
        return self.answer(numbers, least_first=True)

    @staticmethod
    def _values(numbers: tuple[int, ...]) -> tuple[int, int]:
        table = dict(zip(numbers[2::2], numbers[3::2], strict=True))
        return table[numbers[0]], table[abs(numbers[1])]
