"""Recall: training on at most 1,024 tokens, evaluation on up to 128,000 with the keys at every depth.

python benchmarks/recall.py train --out runs/recall                       # a model
python benchmarks/recall.py measure runs/recall/o1_model.pth              # accuracy by length
python benchmarks/recall.py measure runs/recall/o1_model.pth --depths 5 --questions 10 --image docs/images/recall.png
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch as th
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from o1nano.agents.checkpoint import load, save
from o1nano.agents.demonstrations import Demonstration, DemonstrationStream
from o1nano.agents.evaluation import wilson
from o1nano.agents.warm_start import WarmStart, WarmStartConfig
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.expression import Function, answer
from o1nano.envs.language import say
from o1nano.envs.pose import Level, Problem, draw, stream
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.recall import Recall
from o1nano.envs.vocab import EQUALS, PROBLEM
from o1nano.policies.answers import Answer, solve
from o1nano.policies.network import ReasoningNetwork
from o1nano.policies.transformer import TransformerConfig

SIZE = 2  # digits of the values
SHORTEST, LONGEST = 96, 1024  # tokens of a frame in training
WINDOWS = (32, 32, 0)
SCHEMES: dict[str, dict[str, Any]] = {
    # Every layer sees everything; nothing, places or time rotate.
    "none": {"positions": "none"},
    "places": {"positions": "places"},
    "rotary": {"positions": "rotary"},
    # Two layers with a window, rotated by time, and one that sees everything, rotated by nothing, by places or by time.
    "local": {"positions": "local", "windows": WINDOWS},
    "local_places": {"positions": "local_places", "windows": WINDOWS},
    "local_rotary": {"positions": "rotary", "windows": WINDOWS},
}


@dataclass(frozen=True)
class Train:
    """Trains a model on Recall."""

    out: Path = Path("runs/recall")
    """Folder of the model."""
    scheme: str = "local_places"
    """Positions and windows: a key of SCHEMES."""
    log_length: int = 0
    """See TransformerConfig."""
    steps: int = 1500
    """Optimizer steps."""
    long_steps: int = 300
    """The last of them, in which frames have up to 1,024 tokens instead of 160."""
    batch_tokens: int = 2048
    """Tokens of a step."""
    learning_rate: float = 2e-3
    """Of embeddings, norms and heads: see WarmStartConfig."""
    matrix_learning_rate: float = 3e-3
    """Of the matrices of the blocks."""
    bf16: bool = True
    """Whether to compute in bfloat16."""
    every: int = 200
    """Steps between two lines."""
    seed: int = 0
    """Of everything random."""
    threads: int = 1
    """CPU threads."""

    def run(self) -> None:
        """Trains and saves."""
        th.set_num_threads(self.threads)
        th.manual_seed(self.seed)
        env = EnvConfig(operations=("recall",), digits=SIZE, frame_length=LONGEST, max_tokens=100_000)
        shape = {
            "layers": 3,
            "feed_forward": 256,
            "dropout": 0.0,
            "log_length": self.log_length,
            **SCHEMES[self.scheme],
        }
        network = ReasoningNetwork(TransformerConfig(**shape), env.grammar)
        config = WarmStartConfig(self.steps, self.batch_tokens, self.learning_rate, self.matrix_learning_rate)
        trainer = WarmStart(network, config, self.bf16)
        phases = (self.steps - self.long_steps, 160), (self.long_steps, LONGEST)
        batches = chain.from_iterable(islice(self._batches(longest), steps) for steps, longest in phases)
        start, losses = time.process_time(), []

        def report(done: int, found: dict[str, float]) -> bool:
            losses.append(found["loss"])
            if done % self.every == 0 or done == self.steps:
                right = [share(network, length, 40) for length in (256, LONGEST)]
                seconds = time.process_time() - start
                print(f"step {done}: loss {np.mean(losses[-self.every :]):.4f}", end=", ")
                print(f"right at 256 {right[0]:.0%}, at 1,024 {right[1]:.0%}", end=", ")
                print(f"{trainer.tokens / 1e6:.2f}M tokens, {seconds:.0f} CPU s", flush=True)
            return False

        trainer.run(batches, report)
        self.out.mkdir(parents=True, exist_ok=True)
        save(self.out / "o1_model.pth", network.eval(), env, {"scheme": self.scheme, "steps": self.steps})
        print(f"wrote {self.out / 'o1_model.pth'}")

    def _batches(self, longest: int) -> Iterator[list[Demonstration]]:
        rng = stream("recall", self.seed, longest)
        return iter(DemonstrationStream(Lengths(longest), rng, self.batch_tokens, spoil_rate=0.0, pool=4))


class Lengths:
    """A source of levels: most of the problems are short, some have up to ``longest`` tokens."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def draw(self, rng: np.random.Generator) -> Level:
        """Returns the level of the next problem."""
        return Level("recall", SIZE, SHORTEST + int((self.longest - SHORTEST) * rng.random() ** 4))

    def record(self, level: Level, success: bool) -> None:
        """Does nothing."""


def share(network: ReasoningNetwork, length: int, problems: int) -> float:
    """Returns the share of held-out problems of a length that are answered exactly right."""
    rng = stream("recall check", length)
    asked = [draw(Level("recall", SIZE, length), rng, "test") for _ in range(problems)]
    config = EnvConfig(operations=("recall",), frame_length=length, max_tokens=200, depth=4)
    return float(np.mean([answer.correct for answer in solve(network, asked, config)]))


def contexts(length: int, count: int, questions: int, depth: float | None, seed: int) -> list[Problem]:
    """Draws held-out questions, several on each context.

    Args:
        length: Tokens of a frame.
        count: Contexts.
        questions: Questions on each.
        depth: Where the first number that is asked for stands, 0 at the beginning of the context and 1 at its end.
        seed: Which ones.
    """
    family = FAMILIES["recall"]
    assert isinstance(family, Recall)
    problems = []
    for context in range(count):
        rng = stream("recall", "test", length, depth, context, seed)
        pairs = [number for number in family.sample(rng, SIZE, length).args[2:] if isinstance(number, int)]
        for _ in range(questions):
            line = None if depth is None else min(int(depth * (len(pairs) // 2)), len(pairs) // 2 - 1)
            task: Function = family.question(rng, pairs, line)
            prompt = (PROBLEM, *say(family.symbolic, task), EQUALS)
            problems.append(Problem(prompt, task, bytes(answer(task, False)), Level("recall", SIZE, length)))
    return problems


@dataclass(frozen=True)
class Measure:
    """Measures a model on longer and longer contexts."""

    model: Annotated[Path, tyro.conf.Positional]
    """An o1_model.pth."""
    lengths: tuple[int, ...] = (256, 1024, 4096, 8192, 32_000, 128_000)
    """Tokens of a frame."""
    contexts: int = 4
    """Contexts of each length."""
    questions: int = 50
    """Questions on each context."""
    depths: int = 0
    """Into how many depths the first key is put, each with that many questions; 0: anywhere."""
    log_length: int | None = None
    """Sharpens attention beyond this length: see TransformerConfig. By default as trained."""
    rotary_base: float | None = None
    """Stretches rotations by time. By default as trained."""
    image: Path | None = None
    """Heatmap of length and depth."""
    seed: int = 0
    """Which problems."""
    threads: int = 1
    """CPU threads."""

    def run(self) -> None:
        """Prints a line for each length."""
        th.set_num_threads(self.threads)
        network = self._network()
        depths: list[float | None] = [(at + 0.5) / self.depths for at in range(self.depths)] or [None]
        table = np.zeros((len(self.lengths), len(depths)))
        for row, length in enumerate(self.lengths):
            start, found = time.perf_counter(), list[Answer]()
            config = EnvConfig(operations=("recall",), frame_length=length, max_tokens=200, depth=4)
            for column, depth in enumerate(depths):
                asked = contexts(length, self.contexts, self.questions, depth, self.seed)
                answers = solve(network, asked, config)
                table[row, column] = np.mean([answer.correct for answer in answers])
                found += answers
            self._print(length, found, table[row], time.perf_counter() - start)
        if self.image is not None:
            self._draw(table)

    def _network(self) -> ReasoningNetwork:
        trained, env = load(self.model)
        changes = {
            name: getattr(self, name) for name in ("log_length", "rotary_base") if getattr(self, name) is not None
        }
        network = ReasoningNetwork(replace(trained.config, **changes), env.grammar)
        network.load_state_dict(trained.state_dict())
        return network.eval()

    def _print(self, length: int, found: list[Answer], row: np.ndarray, seconds: float) -> None:
        right = sum(answer.correct for answer in found)
        low, high = wilson(right, len(found))
        by_depth = "  by depth " + " ".join(f"{share:.0%}" for share in row) if len(row) > 1 else ""
        print(f"{length:>7,} tokens: {right / len(found):6.1%} of {len(found)} ({low:.1%} to {high:.1%})", end="")
        print(f"{by_depth}  {seconds:.0f} s", flush=True)

    def _draw(self, table: np.ndarray) -> None:
        import matplotlib.pyplot as plt

        assert self.image is not None
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        picture = axes.imshow(table.T, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axes.set_xticks(range(len(self.lengths)), [f"{length:,}" for length in self.lengths])
        axes.set_yticks(range(table.shape[1]), [f"{(at + 0.5) / table.shape[1]:.0%}" for at in range(table.shape[1])])
        axes.set(xlabel="tokens of the context", ylabel="depth of the first key")
        for (row, column), value in np.ndenumerate(table):
            axes.text(row, column, f"{value:.0%}", ha="center", va="center", color="white" if value < 0.7 else "black")
        figure.colorbar(picture)
        self.image.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.image, dpi=110)
        print(f"wrote {self.image}")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"train": Train, "measure": Measure}, description=__doc__).run()
