"""From problems to answers: what a path said, what it cost, and several paths for each problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp

from o1nano.envs.episodes import EnvConfig
from o1nano.envs.pose import Problem
from o1nano.envs.rules import Ended, Outcome
from o1nano.envs.vocab import answer_text
from o1nano.policies.engine import Engine
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.sampling import key
from o1nano.policies.threads import Path, Thinking, Thread


@dataclass(frozen=True)
class Answer:
    """What the model said to a problem.

    Attributes:
        problem: What was asked.
        text: The visible answer; empty if there is none.
        correct: Whether it is exactly right.
        outcome: How the episode ended.
        reasoning_tokens, completion_tokens, subtask_tokens: Emitted tokens by channel.
        subtasks: Calls.
        depth: Most frames open at the same time.
        longest_context: Tokens of the longest frame.
        revisions: ``<revise>`` tokens.
        frames: The frames in the order in which they ended, if they were asked for.
        log_prob: Of the tokens that led to the answer, at temperature 1.
        value: Product of the critic's estimates at the end of each thought.
        retries: Steps that the engine took back.
        shared: Subtasks that were given the result of an earlier one.
        paths: How many paths the figures above are summed over.
        seconds: Until it was there, in a batch with others.
    """

    problem: Problem
    text: str
    correct: bool
    outcome: str
    reasoning_tokens: int
    completion_tokens: int
    subtask_tokens: int
    subtasks: int
    depth: int
    longest_context: int
    revisions: int
    frames: tuple[Ended, ...] = field(default=(), repr=False)
    log_prob: float = field(default=0.0, compare=False)
    value: float = field(default=1.0, compare=False)
    retries: int = 0
    shared: int = 0
    paths: int = 1
    seconds: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """All emitted tokens."""
        return self.reasoning_tokens + self.completion_tokens + self.subtask_tokens


def solve(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    batch: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    keep_frames: bool = False,
    flat: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Answers problems by one path each: ``explore`` for when no more is wanted."""
    explored = explore(network, problems, config, 1, temperature, Thinking(), batch, seed, keep_frames, flat, progress)
    return [answer for (answer,) in explored]


def explore(
    network: ReasoningNetwork,
    problems: Sequence[Problem],
    config: EnvConfig,
    paths: int,
    temperature: float,
    thinking: Thinking,
    batch: int = 256,
    seed: int = 0,
    keep_frames: bool = False,
    flat: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[Answer]]:
    """Answers problems by several paths each.

    Args:
        network: The model.
        problems: What to answer; every prompt must be shorter than ``config.frame_length``.
        config: Limits and grammar of the environment.
        paths: Paths of each problem.
        temperature: 0 takes the most likely token, otherwise log-probabilities are divided by it and sampled.
        thinking: How each path thinks.
        batch: Call stacks that are decoded together.
        seed: Of the sampling. Path 3 of problem 5 is the same whatever else is asked.
        keep_frames: Whether answers carry their frames, hidden reasoning included.
        flat: Whether all frames of a problem stay in one context: see ``LongDecoder``.
        progress: Called with the number of paths that have ended.

    Returns:
        For each problem, in their order, its paths.
    """
    found: list[list[Answer | None]] = [[None] * paths for _ in problems]
    ended, started = 0, time.perf_counter()

    def start(problem: int, path: int) -> Thread:
        def done(thread: Thread) -> None:
            nonlocal ended
            ended += 1
            found[problem][path] = _report(problems[problem], thread, time.perf_counter() - started)
            progress(ended)

        prompt = bytes(problems[problem].prompt)
        stream = key(seed, problem, path)
        return Thread(prompt, stream, Path(stream, temperature), done, temperature)

    # Long problems first: at the end the batch is not kept waiting for one of them.
    order = sorted(range(len(problems)), key=lambda index: -len(problems[index].prompt))
    rows = min(batch, len(problems) * paths * thinking.width)
    if rows:
        engine = Engine(network, config, rows, thinking, keep_frames, flat)
        engine.run(start(problem, path) for problem in order for path in range(paths))
    return [[answer for answer in group if answer is not None] for group in found]


def _report(problem: Problem, thread: Thread, seconds: float) -> Answer:
    path = thread.path
    reasoning, completion, subtask = path.tokens.tolist()
    answered = thread.outcome == Outcome.ANSWERED
    return Answer(
        problem=problem,
        text=answer_text(thread.answer) if answered else "",
        correct=answered and problem.accepts(thread.answer),
        outcome=thread.outcome.name.lower(),
        reasoning_tokens=reasoning,
        completion_tokens=completion,
        subtask_tokens=subtask,
        subtasks=path.subtasks,
        depth=path.depth,
        longest_context=path.longest,
        revisions=path.revisions,
        frames=tuple(thread.frames),
        log_prob=thread.log_prob,
        value=exp(thread.trust),
        retries=path.retries,
        shared=path.shared,
        seconds=seconds,
    )
