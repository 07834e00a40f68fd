"""Compares the curriculum with uniform sampling: episodes until a simulated learner reaches a set accuracy.

python -m benchmarks.results.curricula
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.core.curriculum import AdaptiveCurriculum, LevelSampler, UniformLevels
from o1nano.envs.problems.problem import Level, sizes
from o1nano.envs.seeding import stream

FAMILIES = ("addition", "multiplication")


@dataclass
class Learner:
    """Solves a problem with a probability that is logistic in ability minus size, and learns where it is unsure.

    Attributes:
        ability: For each family, the size that is solved half of the time.
        rate: For each family, what an episode at ``p = 0.5`` adds to the ability; one at p adds ``4 p (1 - p)`` of it.
        steepness: Of the logistic function, per size.
    """

    ability: dict[str, float]
    rate: Mapping[str, float]
    steepness: float = 2.0

    def probability(self, level: Level) -> float:
        """Probability that a problem of a level is solved."""
        return float(1 / (1 + np.exp(-self.steepness * (self.ability[level.family] - level.size))))

    def attempt(self, level: Level, rng: np.random.Generator) -> bool:
        """Tries a problem and learns from it; returns whether it was solved."""
        p = self.probability(level)
        self.ability[level.family] += self.rate[level.family] * 4 * p * (1 - p)
        return bool(rng.random() < p)


@dataclass(frozen=True)
class Options:
    """What to simulate."""

    sizes: int = 10
    """Sizes of each of the two families; accuracy is the mean over all of them."""
    accuracy: float = 0.9
    """Where the learner has arrived."""
    seeds: int = 20
    """Simulations of each curriculum."""
    rates: tuple[float, float] = (0.01, 0.003)
    """What an episode at the edge adds to the ability, in sizes: of the fast and of the slow family."""
    most: int = 200_000
    """Episodes after which a simulation is given up."""


def sources(largest: int) -> dict[str, Callable[[], LevelSampler]]:
    """Returns how to begin each strategy, with its default settings."""
    first, last = dict.fromkeys(FAMILIES, 1), dict.fromkeys(FAMILIES, largest)
    return {
        "uniform": lambda: UniformLevels(sizes(FAMILIES, (1, largest))),
        "success threshold": lambda: AdaptiveCurriculum(first, last),
    }


def episodes_needed(source: LevelSampler, options: Options, seed: int) -> int:
    """Returns the number of episodes until a learner that begins at size 1 has arrived, at most ``options.most``."""
    rng = stream("curricula", seed)
    learner = Learner(dict.fromkeys(FAMILIES, 1.0), dict(zip(FAMILIES, options.rates, strict=True)))
    levels = sizes(FAMILIES, (1, options.sizes))
    for episode in range(options.most):
        if episode % 50 == 0 and np.mean([learner.probability(level) for level in levels]) >= options.accuracy:
            return episode
        level = source.draw(rng)
        source.record(level, learner.attempt(level, rng))
    return options.most


def main() -> None:
    """Prints one row a strategy: median and quartiles over the seeds, and the speed-up of the medians."""
    options = parse(Options, __doc__)
    check_least(options, sizes=1, seeds=1, most=1)
    print(f"episodes to {options.accuracy:.0%} over sizes 1 to {options.sizes}, {options.seeds} seeds, {options}")
    print(f"{'strategy':24} {'median':>8} {'quartiles':>17} {'least':>8} {'most':>8} {'faster than uniform':>20}")
    baseline = 0.0
    for name, begin in sources(options.sizes).items():
        needed = [episodes_needed(begin(), options, seed) for seed in range(options.seeds)]
        low, median, high = np.quantile(needed, (0.25, 0.5, 0.75))
        baseline = baseline or median
        spread = f"{low:.0f} to {high:.0f}"
        print(f"{name:24} {median:8.0f} {spread:>17} {min(needed):8} {max(needed):8} {baseline / median:19.2f}x")


if __name__ == "__main__":
    sys.exit(guarded("curricula.py", main))
