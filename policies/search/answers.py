"""From problems to answers: what the model said, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from o1nano.envs.core.call_stack import Ended, Outcome
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.usage import Usage
from o1nano.envs.language.vocab import answer_text
from o1nano.envs.problems.problem import Problem
from o1nano.envs.seeding import stream_seed
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search.branches import Attempt, Branch
from o1nano.policies.search.engine import Engine
from o1nano.policies.search.events import Observe
from o1nano.policies.search.options import SearchOptions

Progress = Callable[[int], None]


def no_progress(done: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True)
class Answer:
    """What the model said to a problem.

    Attributes:
        problem: The problem.
        text: The visible answer, empty without one.
        correct: Whether it is exactly right.
        outcome: How the episode ended, such as ``"answered"`` or ``"out_of_tokens"``.
        usage: What it cost.
        frames: The frames in the order in which they ended, hidden reasoning included, if they were asked for.
        log_prob: Log-probability of the tokens that led to the answer, at temperature 1.
        seconds: Time until it was there, in a batch with others.
        passed_checks: Whether the answer passed all of the model's own checks; None if it was not checked.
    """

    problem: Problem
    text: str
    correct: bool
    outcome: str
    usage: Usage = field(default_factory=Usage)
    frames: tuple[Ended, ...] = field(default=(), repr=False)
    log_prob: float = field(default=0.0, compare=False)
    seconds: float = field(default=0.0, compare=False)
    passed_checks: bool | None = None

    @property
    def tokens(self) -> int:
        """All emitted tokens."""
        return self.usage.tokens


@dataclass(frozen=True)
class Request:
    """One attempt to be made.

    Attributes:
        problem: What to answer; its prompt must be shorter than a frame.
        seed: Seed of the attempt's stream of random numbers.
        temperature: 0 takes the most likely token; otherwise log-probabilities are divided by it and sampled.
    """

    problem: Problem
    seed: int = 0
    temperature: float = 0.0


def attempt_all(
    network: ReasoningNetwork,
    requests: Sequence[Request],
    config: EnvConfig,
    options: SearchOptions | None = None,
    batch: int = 256,
    keep_frames: bool = False,
    progress: Progress = no_progress,
    observe: Observe | None = None,
) -> list[Answer]:
    """Makes attempts, many of them in one batch.

    Args:
        network: The model.
        requests: The attempts. What comes of one does not depend on the others.
        config: Limits and grammar of the environment.
        options: Votes, reuse of subtasks and budgets of every attempt; the rest of it is not used here.
        batch: Number of call stacks that are decoded together.
        keep_frames: Whether answers carry their frames, hidden reasoning included.
        progress: Called with the number of attempts that have ended.
        observe: Called with every event of the decoding; what it raises ends the search.

    Returns:
        An answer for each request, in the same order.
    """
    if not requests:
        return []
    options = options or SearchOptions()

    # Attempts end in any order; the place in this dictionary says whose answer it is.
    answers: dict[int, Answer] = {}
    started = time.perf_counter()

    def root_branch(index: int) -> Branch:
        request = requests[index]

        def on_end(branch: Branch) -> None:
            answers[index] = _answer(request.problem, branch, time.perf_counter() - started)
            progress(len(answers))

        attempt = Attempt(request.seed, request.temperature)
        return Branch(bytes(request.problem.prompt), request.seed, attempt, on_end, request.temperature)

    # Each voter of an attempt can keep one row busy.
    rows = min(batch, len(requests) * options.votes)
    engine = Engine(network, config, rows, options, keep_frames, observe)
    engine.run(map(root_branch, _longest_first(requests)))
    return [answers[index] for index in range(len(requests))]


def _longest_first(requests: Sequence[Request]) -> list[int]:
    """Returns the indices of requests in the order in which they should start."""

    # The longest prompt, as a rule, takes the most steps. Started last, it would run alone in an empty batch.
    def prompt_length(index: int) -> int:
        return len(requests[index].problem.prompt)

    return sorted(range(len(requests)), key=prompt_length, reverse=True)


def solve(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    batch: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    keep_frames: bool = False,
    progress: Progress = no_progress,
    observe: Observe | None = None,
) -> list[Answer]:
    """Answers each problem by one attempt, greedy by default: ``explore`` with one path."""
    options = SearchOptions(temperature=temperature)
    explored = explore(network, problems, config, options, batch, seed, keep_frames, progress, observe)
    return [attempts[0] for attempts in explored]


def explore(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    options: SearchOptions,
    batch: int = 256,
    seed: int = 0,
    keep_frames: bool = False,
    progress: Progress = no_progress,
    observe: Observe | None = None,
) -> list[list[Answer]]:
    """Answers each problem by ``options.paths`` attempts.

    Attempt 3 of problem 5 is the same whatever else is in the batch.

    Args:
        network: The model.
        problems: What to answer.
        config: Limits and grammar of the environment.
        options: How many attempts, at which temperature, and how each subtask is solved.
        batch: Number of call stacks that are decoded together.
        seed: Seed of the sampling.
        keep_frames: Whether answers carry their frames.
        progress: Called with the number of attempts that have ended.
        observe: Called with every event of the decoding; what it raises ends the search.

    Returns:
        For each problem its attempts, in the same order.
    """
    temperature = options.sampling_temperature

    # A seed for each attempt, from its place alone: whoever asks for more paths gets the same first ones.
    requests = []
    for index, problem in enumerate(problems):
        for path in range(options.paths):
            requests.append(Request(problem, stream_seed(seed, index, path), temperature))
    answers = attempt_all(network, requests, config, options, batch, keep_frames, progress, observe)

    # The attempts at one problem stand side by side.
    grouped = []
    for start in range(0, len(answers), options.paths):
        grouped.append(answers[start : start + options.paths])
    return grouped


def _answer(problem: Problem, branch: Branch, seconds: float) -> Answer:
    # Any other outcome leaves no tokens that could be shown or judged.
    answered = branch.outcome == Outcome.ANSWERED
    return Answer(
        problem=problem,
        text=answer_text(branch.answer) if answered else "",
        correct=answered and problem.accepts(branch.answer),
        outcome=branch.outcome.name.lower(),
        usage=branch.attempt.usage,
        frames=tuple(branch.frames),
        log_prob=branch.log_prob,
        seconds=seconds,
    )
