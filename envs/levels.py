"""Where problems come from: the interface that curricula share, and the uniform source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from o1nano.envs.pose import Level


class LevelSource(Protocol):
    """Chooses the level of the next problem and hears how the last one went."""

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns the level of the next problem."""

    def record(self, level: Level, success: bool) -> None:
        """Notes the result of a finished problem."""


class UniformLevels:
    """Every family and every size with the same probability; results are ignored.

    Args:
        families: Keys of ``FAMILIES``.
        digits: Smallest and largest size, both included.
        other: See ``Level.other``.
    """

    def __init__(self, families: Sequence[str], digits: tuple[int, int], other: int | None = None) -> None:
        self.levels = [Level(family, size, other) for family in families for size in range(digits[0], digits[1] + 1)]

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns one of the levels."""
        return self.levels[int(rng.integers(len(self.levels)))]

    def record(self, level: Level, success: bool) -> None:
        """Does nothing."""
