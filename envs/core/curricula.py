"""More curricula beside the thresholds: learning progress, a domain-randomisation frontier, and none at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from o1nano.envs.core.curriculum import Curriculum, ThresholdCurriculum
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level


class LearningProgressCurriculum(Curriculum):
    """Draws every size from the beginning, most of the time those whose success is changing.

    The progress of a level is how far a fast moving average of its results is from a slow one, the weight its absolute
    value: what is being forgotten is practised too, and neither what is mastered nor what is out of reach is drawn
    much. Progress as the difference of two averages in time is from Oudeyer, Kaplan and Hafner (2007), its absolute
    value as a teacher's reward, with exponential averages and a share of uniform draws, from Matiisen et al. (2017),
    and the pair of averages from Kanitscheider et al. (2021), without their preference for levels of low success.

    Args:
        last: For each family, the largest size there is.
        fast: What one result weighs in the fast average.
        slow: What one result weighs in the slow average.
        explore: Share of draws that are uniform over all levels.
        window: See ``Curriculum``; ``success`` is measured over it, progress is not.
        priority: See ``Curriculum``.
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
            raise ConfigurationError(f"slow={slow!r}, fast={fast!r}; accepted: 0 < slow < fast <= 1")
        if not 0 < explore <= 1:
            raise ConfigurationError(f"explore={explore!r}; accepted: above 0, at most 1")
        self.fast, self.slow, self.explore = fast, slow, explore
        self._averages: dict[Level, tuple[float, float]] = {}

    def progress(self, level: Level) -> float:
        """Signed progress of a level, from -1 to 1; 0 before there are results."""
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
        fast, slow = self._averages.get(level, (result, result))  # the first result is no progress
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
    domain grows, shrinks or stays, and the window begins anew: no result is counted twice. The lower end of a domain
    does not move: small sizes are the parts of large ones.

    Args:
        first: See ``Curriculum``.
        last: See ``Curriculum``.
        promote: See ``ThresholdCurriculum``.
        demote: See ``ThresholdCurriculum``.
        window: See ``Curriculum``.
        boundary: Share of draws at the frontiers, equally among the families.
        priority: See ``Curriculum``.
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
            raise ConfigurationError(f"boundary={boundary!r}; accepted: above 0 and below 1")
        self.boundary = boundary

    def _raw(self) -> dict[Level, float]:
        levels = self.open_levels
        inside, at_edge = (1 - self.boundary) / len(levels), self.boundary / len(self.frontier)
        return {level: inside + at_edge * (level.size == self.frontier[level.family]) for level in levels}

    def _update(self, level: Level) -> None:
        measured = self._is_measured(level)
        super()._update(level)
        if measured:  # wherever the frontier is now, it is measured anew
            self._results.pop(Level(level.family, self.frontier[level.family]), None)


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
