"""Has the model check answers, and says what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary
from o1nano.envs.problems.problem import Problem, from_expression
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search import self_checks
from o1nano.policies.search.answers import solve
from o1nano.policies.search.events import Observe

NUM_CHECKS = 2
"""Checks that an answer can pass: casting out nines, and the second check of its operation."""


class Calculator:
    """Has the model compute what checks ask for.

    Args:
        network: The model.
        config: Limits and grammar of the environment.
        batch: Number of call stacks that are decoded together.
        observe: Called with every event of the decoding; None costs nothing.

    Attributes:
        costs: The cost of everything that was computed since it was last emptied.
    """

    def __init__(
        self, network: ReasoningNetwork, config: EnvConfig, batch: int = 256, observe: Observe | None = None
    ) -> None:
        self.network = network
        self.config = config
        self.batch = batch
        self.observe = observe
        self.costs: list[Usage] = []
        self._known: dict[Binary, int | None] = {}

    def compute(self, expressions: list[Binary]) -> list[int | None]:
        """Returns the model's number for each expression; None where it has none, or where nothing can be asked.

        The greedy answer to an expression is always the same, so each is asked once. Sums of two digits, of which most
        of casting out nines consists, are a hundred.
        """
        posed: dict[Binary, Problem] = {}
        for expression in expressions:
            if expression in self._known:
                continue
            problem = _problem(expression, self.config.frame_length)
            if problem is None:
                self._known[expression] = None
            else:
                posed[expression] = problem

        answers = solve(self.network, list(posed.values()), self.config, self.batch, observe=self.observe)
        for expression, answer in zip(posed, answers, strict=True):
            self._known[expression] = self_checks.read_number(answer.text)
            self.costs.append(answer.usage)
        return [self._known[expression] for expression in expressions]


def check_claims(calculator: Calculator, claims: Sequence[self_checks.Claim]) -> tuple[list[int], list[Usage]]:
    """Has the model cast out nines of all claims, and apply the second check to those that pass.

    Nearly all wrong answers fail the first check, which is the cheaper one.

    Args:
        calculator: The model.
        claims: What to check.

    Returns:
        For each claim the number of checks that it has passed, and an equal part of what all checks have cost.
    """
    calculator.costs = []
    passed = [int(holds) for holds in self_checks.nines_hold(claims, calculator.compute)]

    remaining = [index for index, count in enumerate(passed) if count]
    second = self_checks.second_check_holds([claims[index] for index in remaining], calculator.compute)
    for index, holds in zip(remaining, second, strict=True):
        passed[index] += holds
    return passed, _divide_costs(calculator.costs, len(claims))


def _divide_costs(costs: Sequence[Usage], parts: int) -> list[Usage]:
    """Divides the cost of all checks into parts of about equal size.

    The checks of all claims are asked together, so there is no cost of one claim. The claims pay in turn.
    """
    usage = [Usage() for _ in range(parts)]
    for turn, cost in enumerate(costs):
        # A check is no path, and its frames are not those of the answer: depth and context stay the answer's own.
        usage[turn % parts] += replace(cost, paths=0, depth=0, longest_context=0)
    return usage


def _problem(expression: Binary, frame_length: int) -> Problem | None:
    """Returns the problem that a check poses; None if it has no answer or does not fit in a frame."""
    try:
        problem = from_expression(expression)
    except ProblemError:
        return None
    return problem if len(problem.prompt) < frame_length else None
