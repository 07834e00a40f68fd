"""Answers problems by several attempts, and chooses one answer for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary
from o1nano.envs.problems.problem import Problem, from_expression
from o1nano.envs.seeding import stream_seed
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search import self_checks
from o1nano.policies.search.answers import Answer, Progress, Request, attempt_all, explore, no_progress, solve
from o1nano.policies.search.events import ChecksBegan, ChecksEnded, Observe
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.selection import select_answer

NUM_CHECKS = 2
"""Checks that an answer can pass: the inverse operation, and casting out nines."""


def search(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    options: SearchOptions,
    batch: int = 256,
    seed: int = 0,
    keep_frames: bool = False,
    progress: Progress = no_progress,
    observe: Observe | None = None,
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
        progress: Called with the number of attempts that have ended or are no longer needed.
        observe: Called with every event of the decoding and of the checks; what it raises ends the search.

    Raises:
        ConfigurationError: If an option makes no sense.
    """
    options.validate()
    if options.select == "check":
        return _search_until_checked(network, problems, config, options, batch, seed, keep_frames, progress, observe)

    chosen = []
    for answers in explore(network, problems, config, options, batch, seed, keep_frames, progress, observe):
        chosen.append(_with_total_usage(select_answer(answers, options.select), answers))
    return chosen


@dataclass
class _Trial:
    """The attempts at one problem so far.

    Attributes:
        answers: What the attempts said.
        passed: How many checks each answer has passed, by its text.
        checks: What the checks cost.
    """

    answers: list[Answer] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)
    checks: Usage = field(default_factory=Usage)

    @property
    def is_settled(self) -> bool:
        """Whether some answer has passed all checks."""
        return NUM_CHECKS in self.passed.values()

    def result(self) -> Answer:
        """Returns the answer that passed most checks, with the cost of everything."""
        scores = [self.passed.get(answer.text, 0) for answer in self.answers]
        chosen = select_answer(self.answers, "check", scores)
        total = _with_total_usage(chosen, self.answers, self.checks)

        # What was not checked has not failed: there is no verdict on it.
        if chosen.text not in self.passed:
            return replace(total, passed_checks=None)
        return replace(total, passed_checks=self.passed[chosen.text] == NUM_CHECKS)


def _search_until_checked(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    options: SearchOptions,
    batch: int,
    seed: int,
    keep_frames: bool,
    progress: Progress,
    observe: Observe | None,
) -> list[Answer]:
    """Spends more only where a check fails.

    The first path is greedy. While no answer to a problem passes all checks, the number of its paths is doubled, up to
    ``options.paths``. Problems that cannot be checked (no single operation on two numbers) get all paths, and the
    majority decides.
    """
    trials = [_Trial() for _ in problems]
    made = 0
    while made < options.paths:
        # One path, then two in all, then four: the number of paths is at most twice what was needed.
        target = min(max(1, 2 * made), options.paths)
        unsettled = [index for index, trial in enumerate(trials) if not trial.is_settled]
        requests = _requests_of_round(problems, unsettled, range(made, target), options, seed)

        # Paths that settled problems no longer need count as ended.
        ended = len(problems) * options.paths - len(unsettled) * (options.paths - made)
        shown = partial(_add_progress, progress, ended)
        answers = attempt_all(network, requests, config, options, batch, keep_frames, shown, observe)

        # The answers come in the order of the requests: all of the first problem, then all of the second.
        per_problem = target - made
        for place, index in enumerate(unsettled):
            trials[index].answers += answers[place * per_problem : (place + 1) * per_problem]

        _check_new_answers(network, [trials[index] for index in unsettled], config, batch, observe)
        made = target

    progress(len(problems) * options.paths)
    return [trial.result() for trial in trials]


def _requests_of_round(
    problems: Sequence[Problem], unsettled: Sequence[int], paths: range, options: SearchOptions, seed: int
) -> list[Request]:
    """Returns the attempts of one round: some further paths of every problem that is not settled.

    Args:
        problems: All problems of the search.
        unsettled: Indices of those that need further paths.
        paths: Numbers of these paths.
        options: Temperature and number of paths of the search.
        seed: Seed of the search.
    """
    requests = []
    for index in unsettled:
        for path in paths:
            # The greedy path is the likeliest to be right, so it comes first. A lone path is as the options say.
            temperature = options.sampling_temperature
            if path == 0 and options.paths > 1:
                temperature = 0.0
            requests.append(Request(problems[index], stream_seed(seed, index, path), temperature))
    return requests


def _add_progress(progress: Progress, before: int, done: int) -> None:
    progress(before + done)


def _check_new_answers(
    network: ReasoningNetwork, trials: Sequence[_Trial], config: EnvConfig, batch: int, observe: Observe | None
) -> None:
    """Checks the answers that have not been checked yet."""
    # ``owners`` says for each claim whose answer it is.
    owners: list[tuple[_Trial, str]] = []
    claims: list[self_checks.Claim] = []
    for trial in trials:
        # Several attempts can give one answer, which is checked once.
        seen: set[str] = set()
        for answer in trial.answers:
            if answer.text in trial.passed or answer.text in seen:
                continue
            seen.add(answer.text)
            claim = self_checks.read_claim(answer.problem, answer.text)
            if claim is not None:
                owners.append((trial, answer.text))
                claims.append(claim)

    if not claims:
        return
    if observe is not None:
        observe(ChecksBegan(tuple(text for _, text in owners)))
    passed, usage = check_claims(network, claims, config, batch, observe)
    if observe is not None:
        observe(ChecksEnded(tuple(passed)))
    for (trial, text), count, cost in zip(owners, passed, usage, strict=True):
        trial.passed[text] = count
        trial.checks += cost


def check_claims(
    network: ReasoningNetwork,
    claims: Sequence[self_checks.Claim],
    config: EnvConfig,
    batch: int = 256,
    observe: Observe | None = None,
) -> tuple[list[int], list[Usage]]:
    """Has the model check claims by the inverse operation and by casting out nines, all of them together.

    Args:
        network: The model.
        claims: What to check.
        config: Limits and grammar of the environment.
        batch: Number of call stacks that are decoded together.
        observe: Called with every event of the decoding; what it raises ends the checks.

    Returns:
        For each claim the number of checks that it has passed, and an equal part of what all checks have cost.
    """
    calculator = _Calculator(network, config, batch, observe)
    passed = [0] * len(claims)
    for check in (self_checks.inverse_holds, self_checks.nines_hold):
        for index, holds in enumerate(check(claims, calculator.compute)):
            passed[index] += holds
    return passed, _divide_costs(calculator.costs, len(claims))


class _Calculator:
    """Has the model compute what the checks ask for.

    Args:
        network: The model.
        config: Limits and grammar of the environment.
        batch: Number of call stacks that are decoded together.
        observe: Called with every event of the decoding; None costs nothing.

    Attributes:
        costs: The cost of every answer so far.
    """

    def __init__(self, network: ReasoningNetwork, config: EnvConfig, batch: int, observe: Observe | None) -> None:
        self.network = network
        self.config = config
        self.batch = batch
        self.observe = observe
        self.costs: list[Usage] = []

    def compute(self, expressions: list[Binary]) -> list[int | None]:
        """Returns the model's number for each expression; None where it has none, or where nothing can be asked."""
        posed: dict[int, Problem] = {}
        for index, expression in enumerate(expressions):
            problem = _problem(expression, self.config.frame_length)
            if problem is not None:
                posed[index] = problem
        answers = solve(self.network, list(posed.values()), self.config, self.batch, observe=self.observe)

        numbers: list[int | None] = [None] * len(expressions)
        for index, answer in zip(posed, answers, strict=True):
            numbers[index] = self_checks.read_number(answer.text)
            self.costs.append(answer.usage)
        return numbers


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


def _with_total_usage(chosen: Answer, answers: Sequence[Answer], checks: Usage | None = None) -> Answer:
    """Returns an answer with the cost of all attempts and checks."""
    usage = checks or Usage()
    seconds = 0.0
    for answer in answers:
        usage += answer.usage

        # The attempts ran side by side, so the slowest one says how long it took.
        seconds = max(seconds, answer.seconds)
    return replace(chosen, usage=usage, seconds=seconds)
