"""Answers problems by several attempts, and chooses one answer for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.usage import Usage
from o1nano.envs.problems.problem import Problem
from o1nano.envs.seeding import stream_seed
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search import self_checks
from o1nano.policies.search.answers import Answer, Progress, Request, attempt_all, explore, no_progress
from o1nano.policies.search.checking import NUM_CHECKS, Calculator, check_claims
from o1nano.policies.search.events import ChecksBegan, ChecksEnded, Observe
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.selection import select_answer
from o1nano.policies.search.stopping import is_surely_below

WORTH_FINDING = 0.1
"""Answers that pass are waited for as long as they may be this share of all paths."""


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
        problem: The problem.
        answers: What the attempts said.
        passed: How many checks each answer has passed, by its text.
        checks: What the checks cost.
    """

    problem: Problem
    answers: list[Answer] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)
    checks: Usage = field(default_factory=Usage)

    @property
    def is_settled(self) -> bool:
        """Whether further paths are not worth their tokens.

        They are not once an answer has passed all checks. While no answer has passed any, those that pass are waited
        for until they must be rarer than ``WORTH_FINDING``. Otherwise the vote decides among the answers that passed
        most, or among all if there is no check for the problem; it ends when the second answer is unlikely to win.
        """
        best = max(self.passed.values(), default=0)
        if best == NUM_CHECKS:
            return True
        if not best and self_checks.is_checkable(self.problem):
            return is_surely_below(WORTH_FINDING, 0, len(self.answers))

        # A path without an answer does not vote.
        votes: Counter[str] = Counter()
        for answer in self.answers:
            if answer.text and self.passed.get(answer.text, 0) == best:
                votes[answer.text] += 1
        leading = [count for _, count in votes.most_common(2)]
        leader = leading[0] if leading else 0
        second = leading[1] if len(leading) > 1 else 0
        return is_surely_below(0.5, second, leader)

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
    """Spends more only where it may change the answer.

    The first path is greedy. While a problem is not settled, the number of its paths grows by half, up to
    ``options.paths``.
    """
    trials = [_Trial(problem) for problem in problems]
    calculator = Calculator(network, config, batch, observe)
    made = 0
    while made < options.paths:
        # One path, two in all, three, four, six, nine: from four on at most one and a half times what was needed.
        target = min(made + max(1, made // 2), options.paths)
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

        _check_new_answers(calculator, [trials[index] for index in unsettled])
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


def _check_new_answers(calculator: Calculator, trials: Sequence[_Trial]) -> None:
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
    observe = calculator.observe
    if observe is not None:
        observe(ChecksBegan(tuple(text for _, text in owners)))
    passed, usage = check_claims(calculator, claims)
    if observe is not None:
        observe(ChecksEnded(tuple(passed)))
    for (trial, text), count, cost in zip(owners, passed, usage, strict=True):
        trial.passed[text] = count
        trial.checks += cost


def _with_total_usage(chosen: Answer, answers: Sequence[Answer], checks: Usage | None = None) -> Answer:
    """Returns an answer with the cost of all attempts and checks."""
    usage = checks or Usage()
    seconds = 0.0
    for answer in answers:
        usage += answer.usage

        # The attempts ran side by side, so the slowest one says how long it took.
        seconds = max(seconds, answer.seconds)
    return replace(chosen, usage=usage, seconds=seconds)
