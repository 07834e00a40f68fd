"""Held-out accuracy by task and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from o1nano.envs.core.usage import Usage
from o1nano.envs.problems import PRODUCTS, SUMS
from o1nano.envs.problems.problem import Level, Phrasing, Problem, draw, sizes
from o1nano.envs.problems.registry import canonical
from o1nano.envs.seeding import stream
from o1nano.policies.search.answers import Answer

# A problem that one in M draws finds is missed by 50 * M draws with a probability of about e**-50.
_PATIENCE = 50


@dataclass(frozen=True)
class Cell:
    """Results on one task and size.

    Attributes:
        name: ``family/size``.
        n: Problems that were measured.
        correct: Exactly right answers.
        valid: Problems that were answered at all, within every limit and without an illegal token.
        usage: What all answers together have cost.
    """

    name: str
    n: int
    correct: int
    valid: int
    usage: Usage

    # A finished phase of a run keeps its cells in the checkpoint.
    @classmethod
    def restore(cls, saved: Mapping[str, Any]) -> Cell:
        """Returns the cell that ``dataclasses.asdict`` has turned into plain containers."""
        return cls(**{**saved, "usage": Usage(**saved["usage"])})

    @property
    def accuracy(self) -> float:
        """Share of exactly right answers; also the average reward of the plain environment."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        return wilson(self.correct, self.n)

    @property
    def tokens(self) -> float:
        """Mean number of emitted tokens."""
        return self.usage.tokens / self.n

    @property
    def hidden_tokens(self) -> float:
        """Mean number of emitted tokens that a user does not see."""
        return self.usage.hidden_tokens / self.n

    @property
    def subtasks(self) -> float:
        """Mean number of calls."""
        return self.usage.subtasks / self.n

    def as_dict(self) -> dict[str, Any]:
        """Returns all figures, for JSON. Costs are means over the problems."""
        low, high = self.interval
        return {
            "name": self.name,
            "n": self.n,
            "correct": self.correct,
            "valid": self.valid,
            "tokens": self.tokens,
            "hidden_tokens": self.hidden_tokens,
            "subtasks": self.subtasks,
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
            # Under its own name too: readers of a table look for the reward.
            "average_reward": self.accuracy,
        }


def wilson(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Returns the score interval of a proportion (Wilson 1927, "Probable inference").

    Args:
        correct: Successes.
        n: Trials.
        z: Quantile of the normal distribution; 1.96 gives a 95% interval.

    Returns:
        Lower and upper end, between 0 and 1.
    """
    # Unlike the textbook interval share +- z * sqrt(...), this one is sound for shares near 0 and 1 and for small n.
    share = correct / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z / scale * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def standard_levels(sum_digits: int, product_digits: int) -> list[Level]:
    """Returns the levels of the standard table.

    Args:
        sum_digits: Largest size of sums and differences; the smallest is 1.
        product_digits: Largest size of products and quotients; the smallest is 1.
    """
    return sizes(SUMS, (1, sum_digits)) + sizes(PRODUCTS, (1, product_digits))


def held_out(cells: Sequence[Level], n: int, seed: int = 0, phrasing: Phrasing = "mixed") -> list[Problem]:
    """Draws different problems of the test split for each cell, always the same ones for a seed.

    No problem of a cell is a rearrangement of another (see ``canonical``): repeated problems would make the interval
    too narrow.

    Args:
        cells: The levels to draw from.
        n: Problems of each cell. If the test split has fewer, all of them.
        seed: Chooses the problems.
        phrasing: How problems are written: see ``problem.draw``.

    Raises:
        ConfigurationError: If a cell has no problem in the test split.
    """
    problems: list[Problem] = []
    for level in cells:
        problems += _distinct(level, n, seed, phrasing)
    return problems


def _distinct(level: Level, n: int, seed: int, phrasing: Phrasing) -> list[Problem]:
    """Draws until n different problems are found, or only repeats come and no other problem can be left."""
    # Each level has its own stream, so its problems do not depend on the other levels of a table.
    rng = stream("test", level.family, level.size, level.extra, seed)
    found: dict[str, Problem] = {}
    repeats = 0
    while len(found) < n and repeats < _PATIENCE * (len(found) + 1):
        problem = draw(level, rng, "test", phrasing)
        key = canonical(problem.expr)
        if key in found:
            repeats += 1
            continue
        found[key] = problem
        repeats = 0
    return list(found.values())


def shortfall(counts: Mapping[str, int], n: int) -> str:
    """Returns a line that names the levels with fewer than n problems; empty if there are none.

    Args:
        counts: For each level, how many problems ``held_out`` has found.
        n: How many each was to have.
    """
    few = []
    for name, count in counts.items():
        if count < n:
            few.append(f"{name} has {count}")
    if not few:
        return ""
    return f"fewer than {n} different problems in the test split, all asked: {', '.join(few)}"


def tabulate(answers: Sequence[Answer]) -> list[Cell]:
    """Groups answers by level, in order of appearance."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        # A problem that a user has typed has no level.
        groups.setdefault(str(answer.problem.level or "posed"), []).append(answer)

    cells = []
    for name, group in groups.items():
        cells.append(summarise(name, group))
    return cells


def summarise(name: str, answers: Sequence[Answer]) -> Cell:
    """Summarises answers as one cell."""
    correct = 0
    valid = 0
    usage = Usage()
    for answer in answers:
        correct += answer.correct
        valid += answer.outcome == "answered"
        usage += answer.usage
    return Cell(name, len(answers), correct, valid, usage)


def demonstrated_average(cells: Sequence[Cell], sum_digits: int, product_digits: int) -> float:
    """Returns the mean accuracy over the demonstrated sizes of the four operations.

    Args:
        cells: Results, of other levels too.
        sum_digits: Largest demonstrated size of sums and differences.
        product_digits: Largest demonstrated size of products and quotients.
    """
    # Levels outside of the standard table have no place in the average: they would change its meaning.
    demonstrated = set(map(str, standard_levels(sum_digits, product_digits)))
    accuracies = [cell.accuracy for cell in cells if cell.name in demonstrated]
    return sum(accuracies) / len(accuracies)
