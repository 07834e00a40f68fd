"""Answers problems by several attempts, and chooses one answer for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from o1nano.envs.core.episodes import EnvConfig
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary
from o1nano.envs.problems.problem import Problem, from_expression
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search import self_checks
from o1nano.policies.search.answers import Answer, Progress, explore, no_progress, solve
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.selection import select_answer


def search(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    options: SearchOptions,
    batch: int = 256,
    seed: int = 0,
    keep_frames: bool = False,
    progress: Progress = no_progress,
) -> list[Answer]:
    """Answers problems. The usage of an answer covers all attempts at its problem and all checks of them.

    Args:
        network: The model.
        problems: What to answer; every prompt must be shorter than ``config.frame_length``.
        config: Limits and grammar of the environment.
        options: How many attempts are made, and which answer is chosen.
        batch: Number of call stacks that are decoded together.
        seed: Seed of the sampling.
        keep_frames: Whether answers carry their frames, hidden reasoning included.
        progress: Called with the number of attempts that have ended.

    Raises:
        ConfigurationError: If an option makes no sense.
    """
    options.validate()
    explored = explore(network, problems, config, options, batch, seed, keep_frames, progress)
    if options.select != "check":
        return [_with_total_cost(select_answer(paths, options.select), paths) for paths in explored]
    passed, cost = check_answers(network, explored, config, batch)
    return [
        _with_total_cost(select_answer(paths, "check", scores), paths, spent)
        for paths, scores, spent in zip(explored, passed, cost, strict=True)
    ]


def check_answers(
    network: ReasoningNetwork, explored: Sequence[Sequence[Answer]], config: EnvConfig, batch: int = 256
) -> tuple[list[list[int]], list[Usage]]:
    """Has the model check its answers by the inverse operation and by casting out nines.

    Args:
        network: The model.
        explored: For each problem, attempts at it. An answer that several of them gave is checked once.
        config: Limits and grammar of the environment.
        batch: Number of call stacks that are decoded together.

    Returns:
        For each problem the number of checks that each attempt's answer has passed, and what its checks have cost.
    """
    places: list[tuple[int, str]] = []  # (index of the problem, answer) of every claim
    claims: list[self_checks.Claim] = []
    for index, attempts in enumerate(explored):
        for text in dict.fromkeys(attempt.text for attempt in attempts):
            claim = self_checks.read_claim(attempts[0].problem, text)
            if claim is not None:
                places.append((index, text))
                claims.append(claim)

    # All claims are checked together. Each pays an equal part of the tokens for its problem.
    cost = [Usage() for _ in explored]
    answered = 0

    def ask(expressions: list[Binary]) -> list[int | None]:
        nonlocal answered
        posed = [_problem(expression, config.frame_length) for expression in expressions]
        answers = iter(solve(network, [problem for problem in posed if problem], config, batch))
        numbers: list[int | None] = []
        for problem in posed:
            answer = next(answers) if problem else None
            numbers.append(self_checks.read_number(answer.text) if answer else None)
            if answer:
                index, _ = places[answered % len(places)]
                cost[index] += replace(answer.usage, paths=0, depth=0, longest_context=0)
                answered += 1
        return numbers

    score = dict.fromkeys(places, 0)
    for check in (self_checks.inverse_holds, self_checks.nines_hold):
        for place, holds in zip(places, check(claims, ask), strict=True):
            score[place] += holds
    passed = [[score.get((index, attempt.text), 0) for attempt in attempts] for index, attempts in enumerate(explored)]
    return passed, cost


def _problem(expression: Binary, frame_length: int) -> Problem | None:
    """Returns the problem that a check poses; None if it has no answer or does not fit in a frame."""
    try:
        problem = from_expression(expression)
    except ProblemError:
        return None
    return problem if len(problem.prompt) < frame_length else None


def _with_total_cost(chosen: Answer, attempts: Sequence[Answer], checks: Usage | None = None) -> Answer:
    """Returns an answer with the cost of all attempts and checks."""
    usage = reduce(add, [attempt.usage for attempt in attempts], checks or Usage())
    return replace(chosen, usage=usage, seconds=max(attempt.seconds for attempt in attempts))
