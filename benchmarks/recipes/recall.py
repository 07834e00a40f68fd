"""Recall: a small model that looks up keys in lists of at most 1,024 tokens, to be measured on up to 128,000.

python -m benchmarks.recipes.recall --out runs/recall                          # about 1,100 CPU seconds on one thread
python -m benchmarks.results.recall_measure runs/recall/o1_model.pth           # accuracy by length and depth
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch as th

from o1nano.agents.learning.imitation import WarmStart, WarmStartConfig
from o1nano.agents.learning.packing import TrainingFrame
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.language.templates import say
from o1nano.envs.language.vocab import EQUALS, NOTHING, PROBLEM, STEP, THINK, ZERO, digits_of
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.draws import draw_number
from o1nano.envs.problems.expert import demonstrate
from o1nano.envs.problems.problem import Level, Problem, draw
from o1nano.envs.problems.recall import KEY_DIGITS, Recall
from o1nano.envs.problems.registry import expected_answer
from o1nano.envs.seeding import stream
from o1nano.policies.model_file import load, save
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.network.transformer import TransformerConfig
from o1nano.policies.search.answers import solve

SIZE = 2  # digits of the values
LONGEST = 1024  # tokens of a frame in training, about
LINES = 32  # of a drill at the end of the curriculum: about 580 tokens
NEAR = 0.8  # share of the keys that are like another one
MOVED, CHANGED = 0.5, 0.25  # of those the share with a digit moved; in the others the share of digits that differ
WINDOWS = (8, 32, 0)
SCHEMES: dict[str, dict[str, Any]] = {
    # Every layer sees everything; nothing, places or time rotate.
    "none": {"positions": "none"},
    "places": {"positions": "places"},
    "rotary": {"positions": "rotary"},
    # Two layers with a window, rotated by time, and one that sees everything, rotated by nothing, by places or by time.
    "local": {"positions": "local", "windows": WINDOWS, "rotary_base": 100.0},
    "local_places": {"positions": "local_places", "windows": WINDOWS, "rotary_base": 100.0},
    "local_rotary": {"positions": "rotary", "windows": WINDOWS},
}


@dataclass(frozen=True)
class Train:
    """Trains a model on Recall."""

    out: Path = Path("runs/recall")
    """Folder of the model."""
    start: Path | None = None
    """A model of the same scheme to start from. Training begins at the end of the curriculum."""
    scheme: Literal["none", "places", "rotary", "local", "local_places", "local_rotary"] = "local"
    """Positions and windows: see SCHEMES."""
    log_length: int = 64
    """See TransformerConfig. Shorter than most frames: how sharp attention grows with length is then learned too."""
    steps: int = 5000
    """Optimizer steps, and the length of the curriculum: see ``batches``."""
    batch_tokens: int = 2048
    """Tokens of a step."""
    learning_rate: float = 2e-3
    """Of embeddings, norms and heads: see WarmStartConfig."""
    matrix_learning_rate: float = 3e-3
    """Of the matrices of the blocks."""
    heads: int = 8
    """Heads of a layer: five digits are gathered by five heads."""
    bf16: bool = True
    """Whether to compute in bfloat16."""
    every: int = 500
    """Steps between two lines."""
    seed: int = 0
    """Of everything random."""
    threads: int = 1
    """CPU threads."""

    def run(self) -> None:
        """Trains and saves."""
        check_least(self, steps=1, batch_tokens=1, heads=1, every=1, seed=0, threads=1)
        th.set_num_threads(self.threads)
        th.manual_seed(self.seed)
        env = EnvConfig(operations=("recall",), digits=SIZE, frame_length=LONGEST, max_tokens=100_000)
        shape = {"layers": 3, "heads": self.heads, "feed_forward": 256, "dropout": 0.0, "log_length": self.log_length}
        network = ReasoningNetwork(TransformerConfig(**shape, **SCHEMES[self.scheme]), env.grammar)
        if self.start is not None:
            network.load_state_dict(load(self.start)[0].state_dict())
        config = WarmStartConfig(self.steps, self.batch_tokens, self.learning_rate, self.matrix_learning_rate)
        trainer = WarmStart(network, config, self.bf16)
        start, losses = time.process_time(), []

        def report(done: int, found: dict[str, float]) -> bool:
            losses.append(found["loss"])
            if done % self.every == 0 or done == config.steps:
                right = [share(network, length, 16) for length in (128, LONGEST)]
                seconds = time.process_time() - start
                print(f"step {done}: loss {np.mean(losses[-self.every :]):.4f}", end=", ")
                print(f"right at 128 {right[0]:.0%}, at 1,024 {right[1]:.0%}", end=", ")
                print(f"{trainer.tokens / 1e6:.2f}M tokens, {seconds:.0f} CPU s", flush=True)
                save(self.out / "o1_model.pth", network, env, {"scheme": self.scheme, "steps": done})
            return False

        self.out.mkdir(parents=True, exist_ok=True)
        rng = stream("recall training", self.seed)
        first = 0 if self.start is None else self.steps
        trainer.run(batches(rng, self.batch_tokens, self.steps, first), report)
        print(f"wrote {self.out / 'o1_model.pth'}")


def batches(rng: np.random.Generator, tokens: int, steps: int, first: int = 0) -> Iterator[list[TrainingFrame]]:
    """Draws what each step from the first one on learns from, sorted by length; after ``steps`` nothing changes.

    Sums come first: most of the tokens at the beginning, a tenth from a fifth of the steps on. Of what they leave, two
    thirds are drills and one third whole problems. Lists have up to four lines at first, up to ``LINES`` from half of
    the steps on.
    """
    for step in count(first):
        done = min(step / steps, 1)
        summed = int(tokens * max(0.7 - 3 * done, 0.1))
        most = 4 + int((LINES - 4) * min(2 * done, 1))
        batch = sums(rng, summed) + drills(rng, (tokens - summed) * 2 // 3, most, short=max(0.5 - done, 0))
        longest = most if done < 0.5 else LONGEST // 9 - 8
        batch += wholes(rng, (tokens - summed) // 3, longest)
        yield sorted(batch, key=lambda frame: len(frame.tokens))


def sums(rng: np.random.Generator, tokens: int) -> list[TrainingFrame]:
    """Draws subtasks of sums and differences, up to a given number of tokens."""
    batch = list[TrainingFrame]()
    while sum(len(frame.tokens) for frame in batch) < tokens:
        level = Level(("addition", "subtraction")[int(rng.integers(2))], SIZE, SIZE)
        batch += [demonstration(f.tokens, np.flatnonzero(f.emitted) - 1) for f in demonstrate(draw(level, rng))[1:]]
    return batch


def wholes(rng: np.random.Generator, tokens: int, most: int) -> list[TrainingFrame]:
    """Draws the root frames of problems of up to ``most`` lines, mostly few, up to a given number of tokens."""
    batch = list[TrainingFrame]()
    while sum(len(frame.tokens) for frame in batch) < tokens:
        frame = demonstrate(ask(rng, table(rng, 2 + int((most - 1) * rng.random() ** 4))))[0]
        batch.append(demonstration(frame.tokens, np.flatnonzero(frame.emitted) - 1))
    return batch


def drills(rng: np.random.Generator, tokens: int, most: int, short: float) -> list[TrainingFrame]:
    """Draws drills of up to ``most`` lines, a share of them with shorter keys, up to a given number of tokens."""
    batch = list[TrainingFrame]()
    while sum(len(frame.tokens) for frame in batch) < tokens:
        digits = int(rng.integers(1, KEY_DIGITS + 1)) if rng.random() < short else KEY_DIGITS
        batch.append(drill(rng, min(2 + int((most - 1) * rng.random() ** 2), 6 * 10 ** (digits - 1)), digits))
    return batch


def drill(rng: np.random.Generator, lines: int, key_digits: int) -> TrainingFrame:
    """Draws a frame that looks up all keys of its list in random order: a real one looks up two.

    Which keys is no action of the model's; the values are. Keys of one digit come first to a model that has learned
    nothing yet, and the others follow.
    """
    pairs, family = table(rng, lines, key_digits), FAMILIES["recall"]
    assert isinstance(family, Recall)
    tokens = [PROBLEM, *say(family.symbolic, family.question(rng, pairs)), EQUALS, THINK]
    positions: list[int] = []
    for line in rng.permutation(lines):
        key, value = pairs[2 * line : 2 * line + 2]
        tokens += [*digits_of(key, False), NOTHING]
        positions += range(len(tokens) - 1, len(tokens) - 1 + SIZE)
        tokens += [*digits_of(value, False), STEP]
    return demonstration(tokens, positions)


def demonstration(tokens: Sequence[int], positions: Sequence[int] | npt.NDArray[np.intp]) -> TrainingFrame:
    """Returns a frame to imitate at some positions, with nothing wrong in it."""
    ones = np.ones(len(positions), dtype=bool)
    return TrainingFrame(
        np.array(tokens, np.uint8), np.asarray(positions), imitate=ones, returns=ones.astype(np.float32)
    )


def table(rng: np.random.Generator, lines: int, key_digits: int = KEY_DIGITS) -> list[int]:
    """Draws keys and values in turn.

    Most keys are like another one: a few digits differ, or one has moved to another place. Among 14,000 lines there are
    such keys, so they are to be told apart in short lists; and whoever copies a key must read the question, not
    complete what the list begins with.
    """
    found: dict[int, int] = {}
    while len(found) < lines:
        digits = rng.integers(0, 10, key_digits)
        if found and rng.random() < NEAR:
            other = list(found)[int(rng.integers(len(found)))]
            near = np.array(digits_of(other, False)) - ZERO
            if rng.random() < MOVED:
                at, to = rng.integers(0, key_digits, 2)
                digits = np.insert(np.delete(near, at), to, near[at])
            else:
                digits = np.where(rng.random(key_digits) < CHANGED, digits, near)
        if digits[0]:
            found[int("".join(map(str, digits)))] = draw_number(rng, SIZE)
    return [number for pair in found.items() for number in pair]


def ask(
    rng: np.random.Generator, pairs: Sequence[int], line: int | None = None, template: str | None = None
) -> Problem:
    """Asks about a list: about a line, if one is given, in words or in symbols."""
    family = FAMILIES["recall"]
    assert isinstance(family, Recall)
    task = family.question(rng, pairs, line)
    if template is None:
        template = str(rng.choice([family.symbolic, *family.phrasings]))
    return Problem((PROBLEM, *say(template, task), EQUALS), task, bytes(expected_answer(task, least_first=False)))


def share(network: ReasoningNetwork, length: int, problems: int) -> float:
    """Returns the share of held-out problems of a length that are answered exactly right."""
    rng = stream("recall check", length)
    asked = [draw(Level("recall", SIZE, length), rng, "test") for _ in range(problems)]
    config = EnvConfig(operations=("recall",), frame_length=length, max_tokens=200, depth=4)
    return float(np.mean([answer.correct for answer in solve(network, asked, config, batch=8)]))


if __name__ == "__main__":
    sys.exit(guarded("recall.py", lambda: parse(Train, __doc__).run()))
