"""Questions of one form with operands drawn uniformly, of the test split only, none twice.

The ten tasks of Brown et al. 2020 ("Language Models are Few-Shot Learners", section 3.9.1, table 3.9) are among them.
The paper's text has the parentheses of one-digit composites round the last two numbers, ``6+(4*8)``; the items that
were published with it (github.com/openai/gpt-3, ``single_digit_three_ops.jsonl``) have them round the first two,
``(9 + 8) * 2``. Both are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from o1nano.envs.problems.problem import Problem, read, split_of
from o1nano.envs.seeding import stream

ENUMERABLE = 10**5  # combinations up to which their order is drawn at once


@dataclass(frozen=True)
class Question:
    """A way to ask, and what it is asked of.

    Attributes:
        name: Of the row or cell.
        form: The text, with a gap for each axis.
        axes: For each gap, what is drawn from uniformly.
        reported: What GPT-3 175B was reported to reach with few shots, in percent.
    """

    name: str
    form: str
    axes: tuple[Sequence[object], ...]
    reported: float | None = None

    @property
    def example(self) -> str:
        """What such a problem looks like."""
        shares = (0.987654, 0.456789, 0.876543, 0.9, 0.23)
        return self.form.format(*(axis[int(share * len(axis))] for axis, share in zip(self.axes, shares, strict=False)))

    def draw(self, n: int, seed: int = 0) -> list[Problem]:
        """Draws n problems of the test split without replacement; all that there are, if they are fewer."""
        shape, found = [len(axis) for axis in self.axes], []
        for index in _shuffled(prod(shape), stream("question", self.form, self.name, seed)):
            chosen = zip(self.axes, np.unravel_index(index, shape), strict=True)
            problem = read(self.form.format(*(axis[int(at)] for axis, at in chosen)))
            if split_of(problem.expr) == "test":
                found.append(problem)
                if len(found) == n:
                    break
        return found


def _shuffled(size: int, rng: np.random.Generator) -> Iterator[int]:
    """Yields the numbers below ``size`` in random order, each once."""
    if size <= ENUMERABLE:
        yield from rng.permutation(size).tolist()
        return

    # Very many are not drawn at once: few of them are asked for.
    seen: set[int] = set()
    while len(seen) < size:
        index = int(rng.integers(size))
        if index not in seen:
            seen.add(index)
            yield index


def _of_digits(digits: int) -> range:
    """The numbers with this number of digits. 0 has one."""
    return range(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def arithmetic_tasks() -> list[Question]:
    """The ten tasks, and three more: six digits, and the other form of composites."""
    reported = {"2D+": 100.0, "2D-": 98.9, "3D+": 80.4, "3D-": 94.2, "4D+": 25.5, "4D-": 26.8, "5D+": 9.3, "5D-": 9.9}
    words = {"+": "plus", "-": "minus"}
    sums = {
        f"{digits}D{sign}": Question(
            f"{digits}D{sign}",
            f"What is {{}} {word} {{}}?",
            (range(10**digits), range(10**digits)),
            reported.get(f"{digits}D{sign}"),
        )
        for digits in range(2, 7)
        for sign, word in words.items()
    }
    one, signs = range(10), "+-*"
    return [
        *(sums[name] for name in reported),
        Question("2Dx", "What is {} times {}?", (range(100), range(100)), 29.2),
        Question("1DC", "What is ({} {} {}) {} {}?", (one, signs, one, signs, one), 21.3),
        Question("1DC, last two", "What is {}{}({}{}{})?", (one, signs, one, signs, one)),
        *(question for name, question in sums.items() if name not in reported),
    ]


def products(largest: int = 9) -> list[Question]:
    """A question for each pair of sizes, row by row."""
    return [
        Question(f"multiplication/{left}x{right}", "What is {} times {}?", (_of_digits(left), _of_digits(right)))
        for left in range(1, largest + 1)
        for right in range(1, largest + 1)
    ]


def quotients(left: int = 8, right: int = 4) -> list[Question]:
    """The same for quotients, whose divisor is not 0."""
    return [
        Question(
            f"division/{dividend}x{divisor}",
            "What is {} divided by {}?",
            (_of_digits(dividend), range(10 ** (divisor - 1), 10**divisor)),
        )
        for dividend in range(1, left + 1)
        for divisor in range(1, right + 1)
    ]
