"""Long thought, short memory: a call stack against the same thought in one flat context.

python -m benchmarks.results.long_thought                                # tokens and memory, of the expert's thought
python -m benchmarks.results.long_thought runs/NAME/o1_model.pth         # accuracy of a model on the call stack too

The thought is the same: flat, all frames stand one after the other and none is forgotten; on the call stack a frame is
discarded when it returns. Memory is that of the keys and values of the default architecture.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch as th
import tyro

from o1nano.agents.evaluation.held_out import wilson
from o1nano.agents.learning.credit import frame_verdict
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.core.call_stack import Outcome
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.episodes import Episodes
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, Problem, draw
from o1nano.envs.seeding import stream
from o1nano.policies.model_file import load
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.answers import Answer, solve

FRAME = 512  # tokens of the longest frame


@dataclass(frozen=True)
class Options:
    """What to compare."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth; by default only the expert's thought is counted."""
    products: tuple[int, ...] = (32,)
    """Digits of both factors."""
    operands: tuple[int, ...] = (100,)
    """Operands of the expressions, one digit each."""
    n: int = 10
    """Problems of each kind."""
    seed: int = 0
    """Which problems."""
    threads: int = 1
    """CPU threads."""


class Cost(NamedTuple):
    """What one thought costs.

    Attributes:
        tokens: All that the model emits.
        longest: Longest frame.
        held: Most tokens of open frames at the same time: what a call stack keeps in memory.
        flat: Tokens of all frames together: what a flat context keeps.
        attended: Sum over all positions of the tokens that each attends to, on the call stack.
        attended_flat: The same in a flat context.
    """

    tokens: int
    longest: int
    held: int
    flat: int
    attended: int
    attended_flat: int


def problems(options: Options) -> dict[str, list[Problem]]:
    """Draws held-out problems."""
    rng, found = stream("long thought", options.seed), dict[str, list[Problem]]()
    for digits in options.products:
        level = Level("multiplication", digits, digits)
        name = f"product of {digits}x{digits} digits"
        found[name] = [draw(level, rng, "test", "symbolic") for _ in range(options.n)]
    for operands in options.operands:
        name = f"expression of {operands} operands"
        level = Level("chain", 1, operands)
        found[name] = [draw(level, rng, "test", "symbolic") for _ in range(options.n)]
    return found


def count(problem: Problem, config: EnvConfig) -> Cost:
    """Plays the expert's solution and counts."""
    episodes, expert = Episodes(1, config), ExpertPolicy(config.grammar)
    stacks = episodes.stacks
    episodes.pose([0], [problem])
    lengths = np.zeros(config.depth, dtype=np.intp)  # of the frames as they were seen last
    depth = -1
    held = flat = attended = attended_flat = 0
    outcome = Outcome.RUNNING
    while outcome == Outcome.RUNNING:
        now = int(stacks.depth[0])
        replaced = now == depth and stacks.length[0] < lengths[now]  # a tail call
        if now > depth or replaced:
            lengths[now] = 0
        before, depth = int(lengths[now]), now
        lengths[now] = stacks.length[0]
        new = int(lengths[now]) - before  # an action, a prompt, or an injected answer with what was before it
        attended += sum(range(before + 1, before + new + 1))
        attended_flat += sum(range(flat + 1, flat + new + 1))
        flat += new
        held = max(held, int(lengths[: now + 1].sum()))
        action = expert.predict(stacks.observe())
        outcome = Outcome(int(episodes.step(action)[1][0]))
    assert episodes.success[0], f"the expert fails: {outcome.name.lower()}"
    return Cost(int(stacks.emitted[0]), int(stacks.longest[0]), held, flat, attended, attended_flat)


def report(name: str, costs: list[Cost]) -> None:
    """Prints the costs of some thoughts."""
    shape = TransformerConfig()
    token = shape.layers * 2 * shape.embedding * 4  # bytes of keys and values in float32
    mean = Cost(*(int(value) for value in np.mean(costs, axis=0)))
    longest = max(cost.longest for cost in costs)
    print(f"{name}: {mean.tokens:,} tokens of thought, longest frame {longest}")
    print(f"{'':14}{'tokens held':>14}{'MB held':>10}{'attended':>18}")
    for kind, held, attended in (("call stack", mean.held, mean.attended), ("flat", mean.flat, mean.attended_flat)):
        print(f"  {kind:12}{held:>14,}{held * token / 1e6:>10.1f}{attended:>18,}")
    print(
        f"  flat / stack{mean.flat / mean.held:>14.0f}x{'':9}{mean.attended_flat / mean.attended:>17.0f}x", flush=True
    )


def measure(network: ReasoningNetwork, asked: list[Problem], config: EnvConfig) -> None:
    """Prints how often a model is right on the call stack, and how far its reasoning is."""
    start = time.process_time()
    answers = solve(network, asked, config, keep_frames=True)
    seconds = time.process_time() - start

    right = sum(answer.correct for answer in answers)
    low, high = wilson(right, len(answers))
    tokens = sum(answer.tokens for answer in answers) / len(answers)
    ends = ", ".join(sorted({answer.outcome for answer in answers}))
    print(f"  model       right {right} of {len(answers)} ({low:.0%} to {high:.0%}), {tokens:,.0f} tokens: {ends}")
    print(f"{'':14}{np.mean([reach(answer) for answer in answers]):.1%} of the frames come before the first wrong one")
    longest = max(answer.usage.longest_context for answer in answers)
    print(f"{'':14}longest frame {longest}, {seconds / len(answers):.0f} CPU s a problem", flush=True)


def reach(answer: Answer) -> float:
    """Returns how many frames a model has ended rightly before the first wrong one, as a share of the expert's."""
    right = [frame_verdict(frame.tokens) == "right" for frame in answer.frames]
    return (right.index(False) if False in right else len(right)) / len(demonstrate(answer.problem))


def main() -> None:
    """Prints the costs of both kinds of problems, and the accuracy of a model."""
    options = parse(Options, __doc__)
    check_least(options, products=1, operands=2, n=1, seed=0, threads=1)
    th.set_num_threads(options.threads)
    network = None if options.model is None else load(options.model)[0]
    config = EnvConfig(frame_length=FRAME, depth=64, max_tokens=1_000_000)
    for name, asked in problems(options).items():
        costs = [count(problem, config) for problem in asked]
        report(name, costs)
        if network is not None:
            # A model that loses its way is cut off at twice the tokens that the thought needs.
            measure(network, asked, replace(config, max_tokens=2 * max(cost.tokens for cost in costs)))


if __name__ == "__main__":
    sys.exit(guarded("long_thought.py", main))
