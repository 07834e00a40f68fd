"""Two more curricula: by learning progress, and by a frontier of domain randomisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from o1nano.envs.core.curriculum import Curriculum, ThresholdCurriculum
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level


class LearningProgressCurriculum(Curriculum):
    """Draws every size from the beginning, most of the time those whose success is changing.

    The progress of a level is the difference of a fast and a slow moving average of its results, and its weight is the
    absolute value. So levels that are being forgotten are practised too, and levels that are mastered or out of reach
    are drawn rarely. Progress as the difference of two averages in time is from Oudeyer, Kaplan and Hafner (2007). Its
    absolute value as a teacher's reward, with exponential averages and a share of uniform draws, is from Matiisen et
    al. (2017). The pair of averages is from Kanitscheider et al. (2021), without their preference for levels of low
    success.

    Args:
        last: For each family, the largest size of all.
        fast: Weight of one result in the fast average.
        slow: Weight of one result in the slow average.
        explore: Share of draws that are uniform over all levels.
        window: Number of episodes of one level over which ``success`` is measured; progress does not use it.
        priority: Factor for the weights of a family; 1 for families that are not named.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(
        self,
        last: Mapping[str, int],
        fast: float = 0.1,
        slow: float = 0.02,
        explore: float = 0.2,
        window: int = 64,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(last, last, window, priority)
        if not 0 < slow < fast <= 1:
            raise ConfigurationError(f"slow={slow!r}, fast={fast!r}; expected 0 < slow < fast <= 1")
        if not 0 < explore <= 1:
            raise ConfigurationError(f"explore={explore!r}; expected a number above 0, at most 1")
        self.fast, self.slow, self.explore = fast, slow, explore
        self._averages: dict[Level, tuple[float, float]] = {}

    def progress(self, level: Level) -> float:
        """Returns the signed progress of a level, from -1 to 1; 0 before its first result."""
        fast, slow = self._averages.get(level, (0.0, 0.0))
        return fast - slow

    def _raw(self) -> dict[Level, float]:
        progress = {level: abs(self.progress(level)) for level in self.open_levels}
        total, uniform = sum(progress.values()), 1 / len(progress)
        if not total:
            return dict.fromkeys(progress, uniform)
        return {level: self.explore * uniform + (1 - self.explore) * value / total for level, value in progress.items()}

    def _update(self, level: Level) -> None:
        result = float(self._results[level][-1])
        fast, slow = self._averages.get(level, (result, result))  # so that the first result is not progress
        self._averages[level] = fast + self.fast * (result - fast), slow + self.slow * (result - slow)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain containers."""
        averages = [[level.family, level.size, *pair] for level, pair in self._averages.items()]
        return {**super().state_dict(), "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        super().load_state_dict(state)
        self._averages = {Level(family, size): (fast, slow) for family, size, fast, slow in state["averages"]}


class FrontierCurriculum(ThresholdCurriculum):
    """Automatic domain randomisation (OpenAI, Akkaya et al. 2019) over the sizes of each family.

    The domain of a family is its sizes from 1 to the frontier. With probability ``boundary`` a problem is drawn at the
    frontier of a family, otherwise uniformly inside the domains. When a window of results at a frontier is full, the
    domain grows, shrinks or stays, and a new window begins: no result is counted twice. The lower end of a domain does
    not move, because small sizes are the parts of large ones.

    Args:
        first: For each family, the largest size that is open at the beginning.
        last: For each family, the largest size of all.
        promote: Share of successes in a full window of the largest open size that opens the next size.
        demote: Share of successes below which the largest open size is closed again.
        window: Number of episodes of one level over which its success is measured.
        boundary: Share of draws at the frontiers, the same for each family.
        priority: Factor for the weights of a family; 1 for families that are not named.

    Raises:
        ConfigurationError: If there is no family, a family is unknown, or a value is out of range.
    """

    def __init__(
        self,
        first: Mapping[str, int],
        last: Mapping[str, int],
        promote: float = 0.8,
        demote: float = 0.3,
        window: int = 64,
        boundary: float = 0.5,
        priority: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(first, last, promote, demote, window, priority)
        if not 0 < boundary < 1:
            raise ConfigurationError(f"boundary={boundary!r}; expected a number above 0 and below 1")
        self.boundary = boundary

    def _raw(self) -> dict[Level, float]:
        levels = self.open_levels
        inside, at_edge = (1 - self.boundary) / len(levels), self.boundary / len(self.frontier)
        return {level: inside + at_edge * (level.size == self.frontier[level.family]) for level in levels}

    def _update(self, level: Level) -> None:
        measured = self._is_measured(level)
        super()._update(level)
        if measured:  # the frontier, wherever it is now, is measured again
            self._results.pop(Level(level.family, self.frontier[level.family]), None)
