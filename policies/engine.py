"""One engine decodes many problems together and reports what every answer cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch as th

from o1nano.envs.episodes import EnvConfig, Episodes
from o1nano.envs.pose import Problem
from o1nano.envs.rules import Ended, Outcome
from o1nano.policies.decoding import Decoder
from o1nano.policies.long_decoding import LongDecoder
from o1nano.policies.network import ReasoningNetwork

LONG = 4096
"""Frames that may be longer are decoded one path at a time, in bounded memory."""


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
    """Answers problems.

    Args:
        network: The model.
        problems: What to answer; every prompt must be shorter than ``config.frame_length``.
        config: Limits and grammar of the environment.
        batch: Problems that are decoded together; one, if frames may be longer than ``LONG``.
        temperature: 0 takes the most likely token, otherwise log-probabilities are divided by it and sampled.
        seed: Of the sampling.
        keep_frames: Whether answers carry their frames, hidden reasoning included.
        flat: Whether all frames of a problem stay in one context: see ``LongDecoder``.
        progress: Called with the number of answers so far.

    Returns:
        One answer for each problem, in their order.
    """
    long = flat or config.frame_length > LONG
    rows = min(1 if long else batch, len(problems))
    if not rows:
        return []
    episodes = Episodes(rows, config)
    stacks = episodes.stacks
    if keep_frames:
        stacks.trace = []
    decoder = LongDecoder(network, flat=flat) if long else Decoder(network, rows, config.frame_length)
    generator = th.Generator().manual_seed(seed)
    # Long problems first: at the end the batch is not kept waiting for one of them.
    queue = sorted(range(len(problems)), key=lambda index: len(problems[index].prompt))
    asked = np.full(rows, -1)
    answers: dict[int, Answer] = {}
    kept: dict[int, list[Ended]] = {}
    for row in range(rows):
        asked[row] = queue.pop()
        episodes.pose(row, problems[asked[row]])
    network.eval()
    while len(answers) < len(problems):
        actions = _choose(decoder.step(stacks.observe())[0], temperature, generator)
        reward, outcome = episodes.step(actions)
        for ended in stacks.trace or ():
            kept.setdefault(int(asked[ended.stack]), []).append(ended)
        if keep_frames:
            stacks.trace = []
        for row in np.flatnonzero((outcome != Outcome.RUNNING) & (asked >= 0)).tolist():
            index = int(asked[row])
            answers[index] = _report(episodes, row, int(outcome[row]), bool(reward[row]), kept.pop(index, []))
            progress(len(answers))
            asked[row] = queue.pop() if queue else -1
            if asked[row] >= 0:
                episodes.pose(row, problems[asked[row]])
        for row in np.flatnonzero(asked < 0).tolist():
            stacks.park(row)
    return [answers[index] for index in range(len(problems))]


def _choose(log_probs: th.Tensor, temperature: float, generator: th.Generator) -> np.ndarray:
    if temperature == 0:
        return log_probs.argmax(1).cpu().numpy()
    probs = (log_probs / temperature).softmax(1).cpu()
    return th.multinomial(probs, 1, generator=generator).squeeze(1).numpy()


def _report(episodes: Episodes, row: int, outcome: int, correct: bool, frames: list[Ended]) -> Answer:
    info = episodes.finish(row, outcome, correct)
    problem = episodes.problems[row]
    assert problem is not None
    usage = ("reasoning_tokens", "completion_tokens", "subtask_tokens", "subtasks", "depth", "longest_context")
    return Answer(
        problem=problem,
        text=info["answer"],
        correct=correct,
        outcome=info["outcome"],
        revisions=info["revisions"],
        frames=tuple(frames),
        **{key: info[key] for key in usage},
    )
