"""Held-out accuracy by task and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from o1nano.envs.core.levels import sizes
from o1nano.envs.problems import PRODUCTS, SUMS
from o1nano.envs.problems.problem import Level, Phrasing, Problem, draw, stream
from o1nano.policies.search.answers import Answer


@dataclass(frozen=True)
class Cell:
    """Results on one task and size.

    Attributes:
        name: ``family/size``.
        n: Problems.
        correct: Exactly right answers.
        valid: Problems that were answered at all, within every limit and without an illegal token.
        tokens: Mean number of emitted tokens.
        reasoning_tokens: Mean number of them that were hidden.
        subtasks: Mean number of calls.
    """

    name: str
    n: int
    correct: int
    valid: int
    tokens: float
    reasoning_tokens: float
    subtasks: float

    @property
    def accuracy(self) -> float:
        """Share of exactly right answers; also the average reward of the plain environment."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        return wilson(self.correct, self.n)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        low, high = self.interval
        return {**self.__dict__, "accuracy": self.accuracy, "low": low, "high": high, "average_reward": self.accuracy}


def wilson(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Returns the score interval of a proportion (Wilson 1927)."""
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def levels(sums: int, products: int) -> list[Level]:
    """The cells of the standard table: sizes 1 to ``sums`` of sums and differences, 1 to ``products`` of the others."""
    return sizes(SUMS, (1, sums)) + sizes(PRODUCTS, (1, products))


def held_out(cells: Sequence[Level], n: int, seed: int = 0, phrasing: Phrasing = "mixed") -> list[Problem]:
    """Draws n problems of the test split for each cell, always the same ones for a seed."""
    problems = []
    for level in cells:
        rng = stream("test", level.family, level.size, level.other, seed)
        problems += [draw(level, rng, "test", phrasing) for _ in range(n)]
    return problems


def tabulate(answers: Sequence[Answer]) -> list[Cell]:
    """Groups answers by level, in order of appearance."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(str(answer.problem.level or "posed"), []).append(answer)
    return [summarise(name, group) for name, group in groups.items()]


def summarise(name: str, answers: Sequence[Answer]) -> Cell:
    """Summarises answers as one cell."""
    n = len(answers)
    return Cell(
        name=name,
        n=n,
        correct=sum(answer.correct for answer in answers),
        valid=sum(answer.outcome == "answered" for answer in answers),
        tokens=sum(answer.tokens for answer in answers) / n,
        reasoning_tokens=sum(answer.usage.hidden_tokens for answer in answers) / n,
        subtasks=sum(answer.usage.subtasks for answer in answers) / n,
    )


def demonstrated_average(cells: Sequence[Cell], sums: int, products: int) -> float:
    """Mean accuracy over the cells of the standard table up to the demonstrated sizes, as ``levels`` takes them."""
    standard = set(map(str, levels(sums, products)))
    inside = [cell.accuracy for cell in cells if cell.name in standard]
    return sum(inside) / len(inside)
