"""Reasoning at inference: several paths for each problem, and one that is believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from o1nano.envs.episodes import EnvConfig
from o1nano.envs.errors import ConfigurationError, ProblemError
from o1nano.envs.pose import Problem, read
from o1nano.policies import checks
from o1nano.policies.answers import Answer, explore, solve
from o1nano.policies.choice import Select, choose, with_cost_of_all
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.threads import MOST, Thinking

HOTTEST = 1000
"""Temperature at which every legal token is as likely as any other; an infinite one is none."""


@dataclass(frozen=True)
class Search:
    """How problems are answered. The default: one greedy path."""

    paths: int = 1
    """Paths of each problem."""
    temperature: float | None = None
    """What log-probabilities are divided by before sampling; by default 0 (greedy) for one path and 1 for several."""
    select: Select = "majority"
    """Which path is believed: the most frequent answer, the critic's favourite, the likeliest path, the answer that
    passes the model's own checks, or (an upper bound that looks at the solution) the oracle's."""
    thinking: Thinking = field(default_factory=Thinking)

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        self.thinking.validate()
        if not 1 <= self.paths <= MOST:
            raise ConfigurationError(f"paths={self.paths}; accepted: 1 to {MOST}")
        if self.temperature is not None and not 0 <= self.temperature <= HOTTEST:
            raise ConfigurationError(f"temperature={self.temperature}; accepted: a number from 0 to {HOTTEST}")
        if self.select not in get_args(Select):
            raise ConfigurationError(f"select={self.select!r}; accepted: {', '.join(get_args(Select))}")

    @property
    def heat(self) -> float:
        """The temperature, the default resolved."""
        return float(self.paths > 1) if self.temperature is None else self.temperature


def search(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    how: Search,
    batch: int = 256,
    seed: int = 0,
    keep_frames: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Answers problems; what an answer has cost is the cost of all paths and checks. See ``explore``."""
    how.validate()
    explored = explore(
        network, problems, config, how.paths, how.heat, how.thinking, batch, seed, keep_frames, progress=progress
    )
    if how.select != "check":
        return [with_cost_of_all(choose(paths, how.select), paths) for paths in explored]
    passed, cost = check(network, explored, config, batch)
    return [
        with_cost_of_all(choose(paths, "check", scores), [*paths, *spent])
        for paths, scores, spent in zip(explored, passed, cost, strict=True)
    ]


def check(
    network: ReasoningNetwork, explored: Sequence[Sequence[Answer]], config: EnvConfig, batch: int = 256
) -> tuple[list[list[int]], list[list[Answer]]]:
    """Has the model check the answers of paths: the inverse operation, and casting out nines.

    Returns:
        For each problem the number of checks that each path's answer has passed, and what the checks have cost. An
        answer that several paths gave is checked once.
    """
    distinct = [list(dict.fromkeys(path.text for path in paths)) for paths in explored]
    places = [(index, text) for index, texts in enumerate(distinct) for text in texts]
    found = [(place, checks.claim(explored[place[0]][0].problem, place[1])) for place in places]
    claims = [(place, claim) for place, claim in found if claim is not None]
    ledger: list[Answer] = []

    def ask(texts: list[str]) -> list[str]:
        problems = [_sensible(text, config.frame_length) for text in texts]
        answers = iter(solve(network, [problem for problem in problems if problem], config, batch))
        said = [next(answers) if problem else None for problem in problems]
        ledger.extend(answer for answer in said if answer)
        # A model may answer a sum with a remainder or a formula: no number, so the check has failed.
        return [answer.text if answer and checks.is_number(answer.text) else "" for answer in said]

    score = dict.fromkeys(places, 0)
    for test in (checks.inverse, checks.casting_out_nines):
        for (place, _), right in zip(claims, test([claim for _, claim in claims], ask), strict=True):
            score[place] += right
    passed = [[score[index, path.text] for path in paths] for index, paths in enumerate(explored)]
    # Checks of all claims run together, and each claim pays an equal part of their tokens for its problem.
    cost: list[list[Answer]] = [[] for _ in explored]
    for number, answer in enumerate(ledger):
        (index, _), _ = claims[number % len(claims)]
        cost[index].append(replace(answer, paths=0, depth=0, longest_context=0))
    return passed, cost


def _sensible(text: str, frame_length: int) -> Problem | None:
    """A problem that a check poses; None where the claim is such that none can be posed, or none that fits."""
    try:
        problem = read(text)
    except ProblemError:
        return None
    return problem if len(problem.prompt) < frame_length else None
