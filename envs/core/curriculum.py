"""Curricula: the difficulty follows the measured success. Their common base, and the curriculum with thresholds.

A level is drawn by its weight, and the results of finished episodes are recorded. Nothing else changes the state. The
only source of randomness is the generator that ``draw`` is given. The state belongs to the object, not to an
environment: give one object to all environments of a vector (see ``wrappers``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.draws import below
from o1nano.envs.problems.problem import Level
from o1nano.envs.problems.registry import check_family


class Curriculum(ABC):
    """Levels of some families, from size 1 to the largest open one, and the last results of each.

    Args:
        first: For each family, the largest size that is open at the beginning.
        last: For each family, the largest size of all.
        window: Number of episodes of one level over which its success is measured.
        priority: Factor for the weights of a family; 1 for families that are not named. Problems of one family may
            cost many times the tokens of another's, and factors can even that out.

    Attributes:
        frontier: The largest open size of each family.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(
        self,
        first: Mapping[str, int],
        last: Mapping[str, int],
        window: int = 64,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        # ``first`` names the families; ``last`` must have a size for each of them.
        for family in first:
            check_family(family)
            if not 1 <= first[family] <= last.get(family, 0):
                raise ConfigurationError(
                    f"curriculum of {family}: {first[family]} to {last.get(family)}; expected 1 <= first <= last"
                )
        if not first:
            raise ConfigurationError("a curriculum without families; expected at least one family")
        if not isinstance(window, (int, np.integer)) or window < 1:
            raise ConfigurationError(f"window={window!r}; expected an integer of at least 1")

        priority = dict(priority or {})
        for family, factor in priority.items():
            if family not in first or not 0 < factor < np.inf:
                raise ConfigurationError(
                    f"priority {family}={factor!r}; expected a number above 0 for one of {', '.join(first)}"
                )

        self.first = dict(first)
        self.last = dict(last)
        self.frontier = dict(first)
        self.window = window
        self.priority = priority
        self._results: dict[Level, deque[bool]] = {}

    @property
    def open_levels(self) -> list[Level]:
        """The levels that can be drawn."""
        levels: list[Level] = []
        for family, top in self.frontier.items():
            levels += [Level(family, size) for size in range(1, top + 1)]
        return levels

    def success(self, level: Level) -> float:
        """Returns the share of successes in a level's window, or 0.5 if it has no result yet."""
        # 0.5 for a level without results: nothing is known of it, so it is neither hard nor easy.
        results = self._results.get(level)
        return sum(results) / len(results) if results else 0.5

    def episodes(self, level: Level) -> int:
        """Returns the number of results in a level's window."""
        return len(self._results.get(level, ()))

    def solved(self, share: float = 0.9) -> dict[str, int]:
        """Returns for each family the largest size that is solved, as are all smaller ones.

        Args:
            share: A size is solved if its window is full and has at least this share of successes.
        """
        return {family: self._solved(family, share) for family in self.frontier}

    def _solved(self, family: str, share: float) -> int:
        for size in range(1, self.last[family] + 1):
            level = Level(family, size)
            # A size is not known to be solved before its window is full.
            is_full = len(self._results.get(level, ())) == self.window
            if not is_full or self.success(level) < share:
                return size - 1
        return self.last[family]

    @abstractmethod
    def _raw(self) -> dict[Level, float]:
        """Returns the weight of each open level before the priority of its family; at least one is above 0."""

    @abstractmethod
    def _update(self, level: Level) -> None:
        """Moves the frontier, if it has to move, after a result of a level was recorded."""

    def weights(self) -> dict[Level, float]:
        """Returns the probability of each open level."""
        raw = {}
        for level, weight in self._raw().items():
            raw[level] = self.priority.get(level.family, 1.0) * weight
        total = sum(raw.values())
        return {level: weight / total for level, weight in raw.items()}

    def draw(self, rng: np.random.Generator) -> Level:
        """Draws an open level by weight."""
        weights = self.weights()
        levels = list(weights)

        # Inversion of the cumulative distribution: the first level whose cumulated weight reaches the drawn number.
        # The cumulated weights may end below 1 by a rounding error, so the index is capped.
        index = int(np.searchsorted(np.cumsum(list(weights.values())), rng.random()))
        return levels[min(index, len(levels) - 1)]

    def record(self, level: Level, success: bool) -> None:
        """Records a result, after which the largest open size of the family may move by one.

        Args:
            level: The level of the episode. Only its family and its size count.
            success: Whether the answer was exactly right.
        """
        # Results of addition/3x2, for example, count for addition/3.
        level = Level(level.family, level.size)
        self._results.setdefault(level, deque(maxlen=self.window)).append(bool(success))
        self._update(level)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain containers."""
        return {
            "frontier": dict(self.frontier),
            "results": [[level.family, level.size, list(results)] for level, results in self._results.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned.

        Args:
            state: The state of a curriculum with the same families and sizes.

        Raises:
            ConfigurationError: If it is the state of a curriculum with other families or sizes.
        """
        # Check everything before anything changes.
        frontier = dict(state["frontier"])
        same_families = frontier.keys() == self.first.keys()
        if not same_families or any(frontier[f] not in range(1, self.last[f] + 1) for f in frontier):
            raise ConfigurationError(f"a state with frontier {frontier}; expected sizes of 1 to {self.last}")

        # The windows are those of this curriculum, which may be shorter: the newest results stay.
        self.frontier = frontier
        self._results = {}
        for family, size, results in state["results"]:
            self._results[Level(family, size)] = deque(results, maxlen=self.window)


class ThresholdCurriculum(Curriculum):
    """A curriculum whose frontier moves when the success at it passes a threshold.

    Args:
        first: For each family, the largest size that is open at the beginning.
        last: For each family, the largest size of all.
        promote: Share of successes in a full window of the largest open size that opens the next size.
        demote: Share of successes below which the largest open size is closed again. The distance to ``promote`` is the
            hysteresis.
        window: Number of episodes of one level over which its success is measured.
        priority: Factor for the weights of a family; 1 for families that are not named.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(
        self,
        first: Mapping[str, int],
        last: Mapping[str, int],
        promote: float,
        demote: float,
        window: int = 64,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(first, last, window, priority)
        if not 0 <= demote < promote <= 1:
            raise ConfigurationError(f"demote={demote}, promote={promote}; expected 0 <= demote < promote <= 1")
        self.promote = promote
        self.demote = demote

    def _is_measured(self, level: Level) -> bool:
        """Returns True if a level is the largest open one of its family and its window is full."""
        return level.size == self.frontier.get(level.family) and len(self._results[level]) == self.window

    def _update(self, level: Level) -> None:
        if not self._is_measured(level):
            return

        share = self.success(level)
        if share >= self.promote and level.size < self.last[level.family]:
            # Old results of the next size, from before it was closed, do not count.
            self.frontier[level.family] += 1
            self._results.pop(Level(level.family, level.size + 1), None)
        elif share < self.demote and level.size > self.first[level.family]:
            # The size below is measured again. Its old successes would open this size again at once.
            self.frontier[level.family] -= 1
            for size in (level.size, level.size - 1):
                self._results.pop(Level(level.family, size), None)


class AdaptiveCurriculum(ThresholdCurriculum):
    """Opens a family's next size when the largest open one is mastered, and closes it again when it is lost.

    The weight of an open level grows with its share of failures, so that practice goes where it is needed. A floor
    keeps easy levels in the mix. Until its window is full, the largest open size is drawn as if at least half of its
    episodes failed, so that mastering it quickly opens the next size quickly.

    Args:
        first: For each family, the largest size that is open at the beginning.
        last: For each family, the largest size of all.
        promote: Share of successes in a full window of the largest open size that opens the next size.
        demote: Share of successes below which the largest open size is closed again.
        window: Number of episodes of one level over which its success is measured.
        floor: Weight of a level without failures. A level without successes has ``floor + 1``.
        priority: Factor for the weights of a family; 1 for families that are not named.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(
        self,
        first: Mapping[str, int],
        last: Mapping[str, int],
        promote: float = 0.85,
        demote: float = 0.3,
        window: int = 64,
        floor: float = 0.1,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(first, last, promote, demote, window, priority)
        if not 0 <= floor < np.inf:
            raise ConfigurationError(f"floor={floor!r}; expected a number of at least 0")
        self.floor = floor

    def _raw(self) -> dict[Level, float]:
        # Without a floor, the weights of mastered levels are 0. If all are, they are drawn with equal probability.
        return {level: self.floor + self._failures(level) or 1e-9 for level in self.open_levels}

    def _failures(self, level: Level) -> float:
        """Returns the share of failures that a level is drawn by."""
        # The largest open size is what the curriculum waits for: a few early successes must not starve it.
        failures = 1 - self.success(level)
        is_largest = level.size == self.frontier[level.family]
        if is_largest and len(self._results.get(level, ())) < self.window:
            return max(failures, 0.5)
        return failures


class LevelSampler(Protocol):
    """Chooses the level of the next problem, and is told the results."""

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns the level of the next problem."""

    def record(self, level: Level, success: bool) -> None:
        """Records the result of a finished episode."""


class UniformLevels:
    """Draws every level with the same probability and ignores results.

    Args:
        levels: The levels to draw from.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self.levels = list(levels)

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns one of the levels."""
        return self.levels[below(rng, len(self.levels))]

    def record(self, level: Level, success: bool) -> None:
        """Does nothing."""


class WeightedLevels:
    """Draws levels by fixed weights and ignores results.

    Args:
        weights: The weight of each level, above 0.
    """

    def __init__(self, weights: Mapping[Level, float]) -> None:
        # Weights are fixed, so they are summed once.
        self.levels = list(weights)
        self._cumulated = np.cumsum(list(weights.values()))

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns one of the levels."""
        # Searching to the right of a drawn share of the total: levels 0 and 1 of weights 1 and 3 split at 1.
        drawn = rng.random() * self._cumulated[-1]
        index = int(np.searchsorted(self._cumulated, drawn, side="right"))
        return self.levels[min(index, len(self.levels) - 1)]

    def record(self, level: Level, success: bool) -> None:
        """Does nothing."""


class UniformCurriculum(Curriculum):
    """No curriculum: every size is open from the beginning, and all levels have the same weight.

    Args:
        last: For each family, the largest size of all.
        window: Number of episodes of one level over which its success is measured.
        priority: Factor for the weights of a family; 1 for families that are not named.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(self, last: Mapping[str, int], window: int = 64, priority: Mapping[str, float] | None = None) -> None:
        super().__init__(last, last, window, priority)

    def _raw(self) -> dict[Level, float]:
        return dict.fromkeys(self.open_levels, 1.0)

    def _update(self, level: Level) -> None:
        """Leaves the frontier where it is."""
