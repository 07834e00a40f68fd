"""Where problems come from: the interface that curricula share, the uniform source, and levels as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.family import below
from o1nano.envs.problems.problem import Level, check_family


class LevelSource(Protocol):
    """Chooses the level of the next problem and hears how the last one went."""

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns the level of the next problem."""

    def record(self, level: Level, success: bool) -> None:
        """Notes the result of a finished problem."""


class UniformLevels:
    """Every level with the same probability; results are ignored.

    Args:
        levels: What to draw from.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = list(levels)

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns one of the levels."""
        return self.levels[below(rng, len(self.levels))]

    def record(self, level: Level, success: bool) -> None:
        """Does nothing."""


def sizes(families: Sequence[str], digits: tuple[int, int], other: int | None = None) -> list[Level]:
    """Returns the levels of some families from the smallest to the largest size, both included.

    Args:
        families: Keys of ``FAMILIES``.
        digits: Smallest and largest size.
        other: See ``Level.other``.
    """
    return [Level(family, size, other) for family in families for size in range(digits[0], digits[1] + 1)]


def read_level(text: str) -> Level:
    """Reads a level as tables and flags write it: ``family/size`` or ``family/sizexother``.

    Raises:
        ConfigurationError: If it is none, or of no family.
    """
    found = re.fullmatch(r"(\w{1,40})/([1-9]\d{0,2})(?:x([1-9]\d{0,5}))?", text, re.ASCII)
    if found is None:
        raise ConfigurationError(f"level {text[:40]!r}; accepted: FAMILY/SIZE or FAMILY/SIZExOTHER, as expression/1x3")
    family, size, other = found.groups()
    return Level(check_family(family), int(size), int(other) if other else None)
