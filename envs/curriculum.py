"""An adaptive curriculum: difficulty follows measured success."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from o1nano.envs.errors import ConfigurationError
from o1nano.envs.pose import Level, check_family


class AdaptiveCurriculum:
    """Opens a family's next size when the largest open one is mastered, and closes it again when it is lost.

    Open levels are drawn with a weight that grows with their failures, so that practice goes where it is needed, and
    with a floor, so that easy levels are replayed. The state belongs to the object, not to an environment: share one
    object among all environments of a vector (see ``wrappers``).

    Args:
        first: For each family, the largest size that is open at the beginning.
        last: For each family, the largest size there is.
        promote: Share of successes in a full window of the largest open size that opens the next.
        demote: Share of successes below which it is closed again; the distance to ``promote`` is the hysteresis.
        window: Episodes of one level that its share is measured over.
        floor: Weight of a level without failures, when one without successes has ``floor + 1``.
        priority: Factor of the weights of a family, 1 where it is not named. Problems of one family may cost many
            times the tokens of another's; this shares the tokens out.
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
        for family in first:
            check_family(family)
            if not 1 <= first[family] <= last.get(family, 0):
                raise ConfigurationError(
                    f"curriculum of {family}: {first[family]} to {last.get(family)}; accepted: 1 <= first <= last"
                )
        if not 0 <= demote < promote <= 1:
            raise ConfigurationError(f"demote={demote}, promote={promote}; accepted: 0 <= demote < promote <= 1")
        self.promote, self.demote, self.window, self.floor = promote, demote, window, floor
        self.priority = dict(priority or {})
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

    def weights(self) -> dict[Level, float]:
        """Probability of each open level."""
        raw = {
            level: self.priority.get(level.family, 1.0) * (self.floor + 1 - self.success(level))
            for level in self.open_levels
        }
        total = sum(raw.values())
        return {level: weight / total for level, weight in raw.items()}

    def draw(self, rng: np.random.Generator) -> Level:
        """Draws an open level by weight."""
        weights = self.weights()
        levels = list(weights)
        return levels[min(int(np.searchsorted(np.cumsum(list(weights.values())), rng.random())), len(levels) - 1)]

    def record(self, level: Level, success: bool) -> None:
        """Notes a result; the largest open size of its family may move by one."""
        level = Level(level.family, level.size)
        results = self._results.setdefault(level, deque(maxlen=self.window))
        results.append(bool(success))
        if level.size != self.frontier.get(level.family) or len(results) < self.window:
            return
        share = self.success(level)
        if share >= self.promote and level.size < self.last[level.family]:
            self.frontier[level.family] += 1
            self._results.pop(Level(level.family, level.size + 1), None)
        elif share < self.demote and level.size > self.first[level.family]:
            self.frontier[level.family] -= 1
            self._results.pop(level)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain containers."""
        return {
            "frontier": dict(self.frontier),
            "results": [[level.family, level.size, list(results)] for level, results in self._results.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.frontier = dict(state["frontier"])
        self._results = {
            Level(family, size): deque(results, maxlen=self.window) for family, size, results in state["results"]
        }
