"""pass@k: the share of problems that a model solves at least once in k samples.

Whether reinforcement teaches a model something, or only makes it choose what it could do already, shows at large k
(Yue et al. 2025, "Does reinforcement learning really incentivize reasoning capacity in LLMs beyond the base model?",
arXiv 2504.13837).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from o1nano.agents.evaluation.held_out import wilson
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.selection import pass_at_k


@dataclass(frozen=True)
class PassAt:
    """pass@k of one level.

    Attributes:
        name: ``family/size``.
        n: Problems.
        samples: Samples of each problem.
        solved: Problems with at least one right sample.
        shares: For each k, pass@k.
    """

    name: str
    n: int
    samples: int
    solved: int
    shares: dict[int, float]

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of pass@k at the largest k, which is the share of the solved problems."""
        return wilson(self.solved, self.n)

    def as_dict(self) -> dict[str, Any]:
        """Returns all figures, for JSON."""
        low, high = self.interval
        return {
            "name": self.name,
            "n": self.n,
            "samples": self.samples,
            "solved": self.solved,
            "pass_at": {str(k): share for k, share in self.shares.items()},
            "low": low,
            "high": high,
        }


def measure_pass_at(explored: Sequence[Sequence[Answer]], ks: Sequence[int]) -> list[PassAt]:
    """Measures pass@k by level, in order of appearance.

    Args:
        explored: For each problem its samples, equally many of each.
        ks: The values of k, none above the number of samples.
    """
    by_level: dict[str, list[int]] = {}
    for attempts in explored:
        correct = sum(attempt.correct for attempt in attempts)
        by_level.setdefault(str(attempts[0].problem.level), []).append(correct)

    samples = len(explored[0])
    found = []
    for name, counts in by_level.items():
        shares = {}
        for k in ks:
            shares[k] = float(np.mean([pass_at_k(samples, correct, k) for correct in counts]))
        solved = sum(correct > 0 for correct in counts)
        found.append(PassAt(name, len(counts), samples, solved, shares))
    return found


def pass_at_table(rows: Sequence[PassAt]) -> str:
    """Returns pass@k as a table, a level in each row.

    Args:
        rows: At least one, all with the same values of k.
    """
    ks = list(rows[0].shares)
    heads = "".join(f"{f'pass@{k}':>10}" for k in ks)
    lines = [f"{'task/size':20} {'n':>6}{heads}   95% interval of pass@{ks[-1]}"]
    for row in rows:
        low, high = row.interval
        shares = "".join(f"{share:10.1%}" for share in row.shares.values())
        lines.append(f"{row.name:20} {row.n:6}{shares}   {low:.1%} to {high:.1%}")
    return "\n".join(lines)
