"""The reward: 1 for the exact visible answer, plus terms that wrappers add, each summed separately.

A term sees every transition of N episodes at once, before any automatic reset, so the single and the native vector
environment share it. The terms are in ``reward_terms``; ``wrappers.RewardWrapper`` adds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from o1nano.envs.core.call_stack import ANSWERED, CallStacks
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Problem

Floats = npt.NDArray[np.float64]


class Transition(NamedTuple):
    """A step of N episodes, as a term sees it.

    Attributes:
        stacks: The call stacks after the step. ``stacks.changes`` says which frames were opened and returned.
        problems: The problem of each episode.
        outcome: ``[N]`` outcomes.
        success: ``[N]``: whether a root has returned with the exact visible answer.
    """

    stacks: CallStacks
    problems: Sequence[Problem | None]
    outcome: npt.NDArray[np.uint8]
    success: npt.NDArray[np.bool_]


class RewardTerm(ABC):
    """One term of the reward. ``name`` is its key in ``info`` and TensorBoard: ``reward/<name>``."""

    name: ClassVar[str]

    def bind(self, num_episodes: int) -> None:  # noqa: B027 (most terms have no state)
        """Allocates the state of N episodes."""

    def reset(self, index: int) -> None:  # noqa: B027
        """Clears the state of an episode, before the next one begins."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the running episodes as plain containers and arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Restores what ``state_dict`` returned."""

    @abstractmethod
    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid. Rows of episodes that have ended before it have no meaning."""


class AnswerTerm(RewardTerm):
    """A term that judges the visible answer when the root returns, and pays nothing before."""

    def __call__(self, step: Transition) -> Floats:
        """Returns ``[N]``: what the step is paid."""
        # Few episodes end in a step, so the loop is short.
        reward = np.zeros(len(step.outcome))
        for index in np.flatnonzero(step.outcome == ANSWERED).tolist():
            problem = step.problems[index]
            assert problem is not None
            reward[index] = self.judge(step.stacks, index, problem, bool(step.success[index]))
        return reward

    @abstractmethod
    def judge(self, stacks: CallStacks, index: int, problem: Problem, success: bool) -> float:
        """Returns what the visible answer of an episode is paid.

        Args:
            stacks: The call stacks after the answer.
            index: The episode.
            problem: Its problem.
            success: Whether the answer is exactly right.
        """


class RewardSum:
    """The reward of N episodes: the true one plus every term, each summed separately.

    Args:
        num_episodes: N.

    Attributes:
        terms: The terms by name.
        sums: For each term, ``[N]``: what the running episodes have been paid so far.
    """

    def __init__(self, num_episodes: int) -> None:
        self.num_episodes = num_episodes
        self.terms: dict[str, RewardTerm] = {}
        self.sums: dict[str, Floats] = {}

    def add(self, term: RewardTerm) -> RewardTerm:
        """Adds a copy of a term, so that environments do not share its state, and returns the copy.

        Args:
            term: The term.

        Raises:
            ConfigurationError: If there is one of this name already.
        """
        if term.name in self.terms:
            raise ConfigurationError(f"reward term {term.name!r} twice; a term can be added once")
        term = deepcopy(term)
        term.bind(self.num_episodes)

        # The infos show the sum of each term from the beginning of the episode.
        self.terms[term.name] = term
        self.sums[term.name] = np.zeros(self.num_episodes)
        return term

    def reset(self, index: int) -> None:
        """Begins an episode."""
        for name, term in self.terms.items():
            term.reset(index)
            self.sums[name][index] = 0.0

    def pay(self, step: Transition) -> Floats:
        """Returns ``[N]``: the reward of a step."""
        # Only reset() clears the sums, so the last infos of an episode still have them.
        total = step.success.astype(np.float64)
        for name, term in self.terms.items():
            paid = term(step)
            self.sums[name] += paid
            total += paid
        return total

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums and the states of the terms for the running episodes."""
        return {name: [self.sums[name].copy(), term.state_dict()] for name, term in self.terms.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state.

        Args:
            state: What ``state_dict`` of a reward with the same terms returned.
        """
        for name, term in self.terms.items():
            sums, term_state = state[name]
            self.sums[name][...] = sums
            term.load_state_dict(term_state)

    def columns(self, success: npt.NDArray[np.bool_]) -> dict[str, Floats]:
        """Returns what the episodes have been paid so far, ``[N]`` for each key; an empty dict without terms.

        Args:
            success: ``[N]``: whether the last step returned a root with the exact visible answer.
        """
        if not self.terms:
            return {}

        # Copies, because the sums change in place with the next step.
        columns = {f"reward/{name}": values.copy() for name, values in self.sums.items()}
        true = success.astype(np.float64)
        total = true + sum(columns.values())
        return {**columns, "reward/true": true, "reward/total": total}


def hack_rate(returns: Sequence[float], successes: Sequence[bool]) -> float:
    """Returns how often the reward of a success is earned without one.

    It is the share of all finished episodes that failed and were paid at least as much as the median success. If that
    is above 1, the plain reward of a success, or if no episode succeeded, the bound is 1. The bound of 1 finds exploits
    that successful episodes use as well. Without episodes the rate is 0.

    Args:
        returns: What each episode was paid in all (``info["reward/total"]``).
        successes: Whether it was solved (``info["is_success"]``).

    Raises:
        ConfigurationError: If there is not one success for each return.
    """
    paid = np.asarray(returns, dtype=np.float64)
    solved = np.asarray(successes, dtype=bool)
    if paid.shape != solved.shape:
        raise ConfigurationError(f"{paid.size} returns and {solved.size} successes; expected one for each episode")
    if not paid.size:
        return 0.0

    # What a solved episode usually earns: to be paid that much without solving anything is a hack.
    threshold = min(1.0, float(np.median(paid[solved]))) if solved.any() else 1.0
    return float(np.mean(~solved & (paid >= threshold)))
