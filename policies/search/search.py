"""Answers problems by several attempts, and chooses one answer for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add

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
    explored = explore(network, problems, config, options, batch, seed, keep_frames, progress, observe)
    return [_with_total_usage(select_answer(answers, options.select), answers) for answers in explored]


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
        verdict = self.passed[chosen.text] == NUM_CHECKS if chosen.text in self.passed else None
        return replace(_with_total_usage(chosen, self.answers, self.checks), passed_checks=verdict)


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
    first_temperature = 0.0 if options.paths > 1 else options.sampling_temperature
    trials = [_Trial() for _ in problems]
    made = 0
    while made < options.paths:
        open_problems = [index for index, trial in enumerate(trials) if not trial.is_settled]
        target = min(max(1, 2 * made), options.paths)
        requests: list[Request] = []
        owners: list[int] = []
        for index in open_problems:
            for path in range(made, target):
                temperature = options.sampling_temperature if path else first_temperature
                requests.append(Request(problems[index], stream_seed(seed, index, path), temperature))
                owners.append(index)

        ended = len(problems) * options.paths - len(open_problems) * (options.paths - made)
        shown = partial(_add_progress, progress, ended)
        answers = attempt_all(network, requests, config, options, batch, keep_frames, shown, observe)
        for index, answer in zip(owners, answers, strict=True):
            trials[index].answers.append(answer)

        _check_new_answers(network, [trials[index] for index in open_problems], config, batch, observe)
        made = target
    progress(len(problems) * options.paths)
    return [trial.result() for trial in trials]


def _add_progress(progress: Progress, before: int, done: int) -> None:
    progress(before + done)


def _check_new_answers(
    network: ReasoningNetwork, trials: Sequence[_Trial], config: EnvConfig, batch: int, observe: Observe | None
) -> None:
    """Checks the answers that have not been checked yet."""
    owners: list[tuple[_Trial, str]] = []
    claims: list[self_checks.Claim] = []
    for trial in trials:
        for text in dict.fromkeys(answer.text for answer in trial.answers):
            claim = self_checks.read_claim(trial.answers[0].problem, text)
            if claim is not None and text not in trial.passed:
                owners.append((trial, text))
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
    usage = [Usage() for _ in claims]
    answered = 0

    def ask(expressions: list[Binary]) -> list[int | None]:
        nonlocal answered
        posed = [_problem(expression, config.frame_length) for expression in expressions]
        wanted = [problem for problem in posed if problem]
        answers = iter(solve(network, wanted, config, batch, observe=observe))
        numbers: list[int | None] = []
        for problem in posed:
            answer = next(answers) if problem else None
            numbers.append(self_checks.read_number(answer.text) if answer else None)
            if answer:
                # Claims take turns in paying.
                usage[answered % len(usage)] += replace(answer.usage, paths=0, depth=0, longest_context=0)
                answered += 1
        return numbers

    passed = [0] * len(claims)
    for check in (self_checks.inverse_holds, self_checks.nines_hold):
        for index, holds in enumerate(check(claims, ask)):
            passed[index] += holds
    return passed, usage


def _problem(expression: Binary, frame_length: int) -> Problem | None:
    """Returns the problem that a check poses; None if it has no answer or does not fit in a frame."""
    try:
        problem = from_expression(expression)
    except ProblemError:
        return None
    return problem if len(problem.prompt) < frame_length else None


def _with_total_usage(chosen: Answer, answers: Sequence[Answer], checks: Usage | None = None) -> Answer:
    """Returns an answer with the cost of all attempts and checks."""
    usage = reduce(add, [answer.usage for answer in answers], checks or Usage())
    return replace(chosen, usage=usage, seconds=max(answer.seconds for answer in answers))
