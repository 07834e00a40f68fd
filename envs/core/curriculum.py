"""Curricula: difficulty follows measured success. What all of them share, and the one by thresholds.

A level is drawn by its weight; finished episodes are recorded; nothing else changes the state. The only source of
randomness is the generator that ``draw`` is given. The state belongs to the object, not to an environment: share one
object among all environments of a vector (see ``wrappers``).
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
        last: For each family, the largest size there is.
        window: Episodes of one level that its success is measured over.
        priority: Factor of the weights of a family, 1 where it is not named. Problems of one family may cost many
            times the tokens of another's; this shares the tokens out.

    Attributes:
        frontier: The largest open size of each family.
    """

    def __init__(
        self,
        first: Mapping[str, int],
        last: Mapping[str, int],
        window: int = 64,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        for family in first:
            check_family(family)
            if not 1 <= first[family] <= last.get(family, 0):
                raise ConfigurationError(
                    f"curriculum of {family}: {first[family]} to {last.get(family)}; accepted: 1 <= first <= last"
                )
        if not first:
            raise ConfigurationError("a curriculum without families; accepted: at least one family")
        if not isinstance(window, (int, np.integer)) or window < 1:
            raise ConfigurationError(f"window={window!r}; accepted: an integer of at least 1")
        for family, factor in (priority or {}).items():
            if family not in first or not 0 < factor < np.inf:
                raise ConfigurationError(
                    f"priority {family}={factor!r}; accepted: a number above 0 for one of {', '.join(first)}"
                )
        self.window, self.priority = window, dict(priority or {})
        self.first, self.last, self.frontier = dict(first), dict(last), dict(first)
        self._results: dict[Level, deque[bool]] = {}

    @property
    def open_levels(self) -> list[Level]:
        """The levels that are drawn from."""
        return [Level(family, size) for family, top in self.frontier.items() for size in range(1, top + 1)]

    def success(self, level: Level) -> float:
        """Share of successes in a level's window; 0.5 before there is one."""
        results = self._results.get(level)
        return sum(results) / len(results) if results else 0.5

    def solved(self, share: float = 0.9) -> dict[str, int]:
        """For each family, up to which size every one has a full window with at least this share of successes."""
        return {family: self._solved(family, share) for family in self.frontier}

    def _solved(self, family: str, share: float) -> int:
        for size in range(1, self.last[family] + 1):
            level = Level(family, size)
            if len(self._results.get(level, ())) < self.window or self.success(level) < share:
                return size - 1
        return self.last[family]

    @abstractmethod
    def _raw(self) -> dict[Level, float]:
        """Returns the weight of each open level before the priority of its family; at least one is above 0."""

    @abstractmethod
    def _update(self, level: Level) -> None:
        """Moves the frontier, if it has to, after a result of a level was noted."""

    def weights(self) -> dict[Level, float]:
        """Probability of each open level."""
        raw = {level: self.priority.get(level.family, 1.0) * weight for level, weight in self._raw().items()}
        total = sum(raw.values())
        return {level: weight / total for level, weight in raw.items()}

    def draw(self, rng: np.random.Generator) -> Level:
        """Draws an open level by weight."""
        weights = self.weights()
        levels = list(weights)
        return levels[min(int(np.searchsorted(np.cumsum(list(weights.values())), rng.random())), len(levels) - 1)]

    def record(self, level: Level, success: bool) -> None:
        """Notes a result of a level of any shape; the largest open size of its family may move by one."""
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

        Raises:
            ConfigurationError: If it is the state of a curriculum of other families or sizes.
        """
        frontier = dict(state["frontier"])
        if frontier.keys() != self.first.keys() or any(frontier[f] not in range(1, self.last[f] + 1) for f in frontier):
            raise ConfigurationError(f"a state with frontier {frontier}; accepted: sizes of 1 to {self.last}")
        self.frontier = frontier
        self._results = {
            Level(family, size): deque(results, maxlen=self.window) for family, size, results in state["results"]
        }


class ThresholdCurriculum(Curriculum):
    """A curriculum whose frontier moves when the success at it passes a threshold.

    Args:
        first: See ``Curriculum``.
        last: See ``Curriculum``.
        promote: Share of successes in a full window of the largest open size that opens the next.
        demote: Share of successes below which it is closed again; the distance to ``promote`` is the hysteresis.
        window: See ``Curriculum``.
        priority: See ``Curriculum``.
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
            raise ConfigurationError(f"demote={demote}, promote={promote}; accepted: 0 <= demote < promote <= 1")
        self.promote, self.demote = promote, demote

    def _is_measured(self, level: Level) -> bool:
        """Tells whether a level is the largest open one of its family and its window is full."""
        return level.size == self.frontier.get(level.family) and len(self._results[level]) == self.window

    def _update(self, level: Level) -> None:
        if not self._is_measured(level):
            return
        share = self.success(level)
        if share >= self.promote and level.size < self.last[level.family]:
            self.frontier[level.family] += 1
            self._results.pop(Level(level.family, level.size + 1), None)
        elif share < self.demote and level.size > self.first[level.family]:
            self.frontier[level.family] -= 1
            # The size below is measured anew: its old successes would open this one again at once.
            for size in (level.size, level.size - 1):
                self._results.pop(Level(level.family, size), None)


class AdaptiveCurriculum(ThresholdCurriculum):
    """Opens a family's next size when the largest open one is mastered, and closes it again when it is lost.

    Open levels are drawn with a weight that grows with their failures, so that practice goes where it is needed, and
    with a floor, so that easy levels are replayed. The largest open one counts as half failed until its window is full:
    who masters it at once shall not wait for the next.

    Args:
        first: See ``Curriculum``.
        last: See ``Curriculum``.
        promote: See ``ThresholdCurriculum``.
        demote: See ``ThresholdCurriculum``.
        window: See ``Curriculum``.
        floor: Weight of a level without failures, when one without successes has ``floor + 1``.
        priority: See ``Curriculum``.
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
            raise ConfigurationError(f"floor={floor!r}; accepted: a number of at least 0")
        self.floor = floor

    def _raw(self) -> dict[Level, float]:
        # Without a floor, mastering everything must not leave every weight at 0.
        return {level: self.floor + self._failures(level) or 1e-9 for level in self.open_levels}

    def _failures(self, level: Level) -> float:
        failures = 1 - self.success(level)
        unmeasured = level.size == self.frontier[level.family] and len(self._results.get(level, ())) < self.window
        return max(failures, 0.5) if unmeasured else failures


class LevelSampler(Protocol):
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


class UniformCurriculum(Curriculum):
    """No curriculum: every size is open from the beginning, and all sizes of a family are drawn alike.

    Args:
        last: For each family, the largest size there is.
        window: See ``Curriculum``.
        priority: See ``Curriculum``.
    """

    def __init__(self, last: Mapping[str, int], window: int = 64, priority: Mapping[str, float] | None = None) -> None:
        super().__init__(last, last, window, priority)

    def _raw(self) -> dict[Level, float]:
        return dict.fromkeys(self.open_levels, 1.0)

    def _update(self, level: Level) -> None:
        """Nothing moves."""
