"""How rewards are made up: terms that may be paid beside the 1 for the exact visible answer, each summed by itself.

A term sees every transition of N episodes at once, before any automatic reset, so that the single and the native vector
environment share it. ``reward_terms`` has the ones that exist, ``wrappers.RewardWrapper`` adds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import ANSWERED, CallStacks
from o1nano.envs.core.stacks import Ints
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Problem

Floats = npt.NDArray[np.float64]


class Transition(NamedTuple):
    """What a term sees of a step: the N call stacks after it, ``[N]`` outcomes, and ``[N]`` exact right answers."""

    stacks: CallStacks
    problems: Sequence[Problem | None]
    outcome: npt.NDArray[np.uint8]
    success: npt.NDArray[np.bool_]


class RewardTerm(ABC):
    """One term of the reward. ``name`` is its key in ``info`` and TensorBoard: ``reward/<name>``."""

    name: ClassVar[str]

    def bind(self, num_episodes: int) -> None:  # noqa: B027 (most terms remember nothing)
        """Makes room for what is remembered of N episodes."""

    def reset(self, index: int) -> None:  # noqa: B027
        """Forgets an episode: the next one begins."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what is remembered of the running episodes, as plain containers and arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Restores what ``state_dict`` returned."""

    @abstractmethod
    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid. Rows of episodes that have ended before it mean nothing."""


class AnswerTerm(RewardTerm):
    """A term that judges the visible answer when the root returns, and pays nothing before."""

    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid."""
        reward = np.zeros(len(step.outcome))
        for index in np.flatnonzero(step.outcome == ANSWERED).tolist():
            problem = step.problems[index]
            assert problem is not None
            reward[index] = self.judge(step.stacks, index, problem, bool(step.success[index]))
        return reward

    @abstractmethod
    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid."""


class RewardSum:
    """The reward of N episodes: the true one plus every term, each summed apart.

    Attributes:
        terms: The terms by name.
        sums: For each term, ``[N]``: what the running episodes have been paid.
    """

    def __init__(self, num_episodes: int) -> None:
        self.num_episodes = num_episodes
        self.terms: dict[str, RewardTerm] = {}
        self.sums: dict[str, Floats] = {}

    def add(self, term: RewardTerm) -> RewardTerm:
        """Adds a copy of a term, so that environments share none, and returns the copy.

        Raises:
            ConfigurationError: If there is one of this name.
        """
        if term.name in self.terms:
            raise ConfigurationError(f"reward term {term.name!r} twice; accepted: every term once")
        term = deepcopy(term)
        term.bind(self.num_episodes)
        self.terms[term.name], self.sums[term.name] = term, np.zeros(self.num_episodes)
        return term

    def reset(self, index: int) -> None:
        """Begins an episode."""
        for name, term in self.terms.items():
            term.reset(index)
            self.sums[name][index] = 0.0

    def pay(self, step: Transition) -> Floats:
        """Returns ``[N]``: the reward of a step."""
        total = step.success.astype(np.float64)
        for name, term in self.terms.items():
            paid = term(step)
            self.sums[name] += paid
            total += paid
        return total

    def state_dict(self) -> dict[str, Any]:
        """Returns what the running episodes have been paid and what the terms remember of them."""
        return {name: [self.sums[name].copy(), term.state_dict()] for name, term in self.terms.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` of a reward with the same terms returned."""
        for name, term in self.terms.items():
            self.sums[name][...] = state[name][0]
            term.load_state_dict(state[name][1])

    def infos(self, indices: Sequence[int] | Ints, successes: Sequence[bool]) -> dict[str, list[float]]:
        """Returns columns of what episodes were paid: by each term, the true reward, the sum; none without terms."""
        if not self.terms:
            return {}
        true = np.array(successes, dtype=np.float64)
        paid = {f"reward/{name}": values[indices] for name, values in self.sums.items()}
        columns = {**paid, "reward/true": true, "reward/total": true + sum(paid.values())}
        return {name: column.tolist() for name, column in columns.items()}


def hack_rate(returns: Sequence[float], successes: Sequence[bool]) -> float:
    """Returns how often the reward of a success is earned without one.

    It is the share of all finished episodes that failed and were paid at least as much as the median success, or 1, the
    plain reward of a success, if that is less or nothing succeeded. The second bound finds exploits that successful
    episodes use as well. 0 without episodes.

    Args:
        returns: What each episode was paid in all (``info["reward/total"]``).
        successes: Whether it was solved (``info["is_success"]``).
    """
    paid, solved = np.asarray(returns, dtype=np.float64), np.asarray(successes, dtype=bool)
    if paid.shape != solved.shape:
        raise ConfigurationError(f"{paid.size} returns and {solved.size} successes; accepted: one for each episode")
    if not paid.size:
        return 0.0
    threshold = min(1.0, float(np.median(paid[solved]))) if solved.any() else 1.0
    return float(np.mean(~solved & (paid >= threshold)))
