"""Recall: accuracy of a model on contexts of 256 to 128,000 tokens, with the keys at every depth.

python -m benchmarks.results.recall_measure pretrained/recall.pth
python -m benchmarks.results.recall_measure runs/recall/o1_model.pth --image docs/images/recall.png
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch as th
import tyro

from benchmarks.recipes.recall import SIZE, ask
from o1nano.agents.evaluation.held_out import wilson
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.core.config import EnvConfig
from o1nano.envs.language.expression import Function
from o1nano.envs.language.vocab import NOTHING, STEP, THINK, digits_of
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Problem
from o1nano.envs.seeding import stream
from o1nano.policies.model_file import load
from o1nano.policies.network.model import ReasoningNetwork
from o1nano.policies.search.answers import Answer, solve
from o1nano.policies.search.engine import LONG_FRAME


def questions(length: int, seed: object, depths: int, each: int) -> list[Problem]:
    """Draws questions about one context.

    Args:
        length: Tokens of a frame.
        seed: Which context and questions.
        depths: Into how many parts the context is cut. The first number that is asked for stands somewhere in the
            first part, then in the second, and so on to the end of the context.
        each: Questions of each part.
    """
    family, rng = FAMILIES["recall"], stream("recall", "measured", length, seed)
    pairs = [int(number) for number in family.sample(rng, SIZE, length).args[2:]]
    # A line of its own for every question: a key that is hard to find would otherwise be asked for again and again.
    lines = [int((part + rng.random()) / depths * len(pairs) / 2) for part in range(depths) for _ in range(each)]
    return [ask(rng, pairs, line, family.symbolic) for line in lines]


def looked_up(answer: Answer) -> bool:
    """Returns whether both keys were written down with the values that are theirs."""
    assert isinstance(answer.problem.expr, Function)
    numbers = [number for number in answer.problem.expr.args if isinstance(number, int)]
    values = dict(zip(numbers[2::2], numbers[3::2], strict=True))
    lines = bytes([THINK])
    for key in (numbers[0], abs(numbers[1])):
        lines += bytes([*digits_of(key, False), NOTHING, *digits_of(values[key], False), STEP])
    return any(lines in frame.tokens for frame in answer.frames)


@dataclass(frozen=True)
class Measure:
    """Measures a model on longer and longer contexts."""

    model: Annotated[Path, tyro.conf.Positional]
    """An o1_model.pth."""
    lengths: tuple[int, ...] = (256, 1024, 8192, 32_000, 128_000)
    """Tokens of a frame."""
    contexts: int = 4
    """Contexts of each length."""
    questions: int = 50
    """Questions on each context."""
    depths: int = 5
    """Into how many parts of the context the first key is put."""
    log_length: int | None = None
    """Sharpens attention beyond this length: see TransformerConfig. By default as trained."""
    rotary_base: float | None = None
    """Stretches rotations by time. By default as trained."""
    lookups: bool = False
    """Whether depths and heatmap are about both lookups being right, whatever became of the sum."""
    image: Path | None = None
    """Heatmap of length and depth."""
    seed: int = 0
    """Which problems."""
    threads: int = 1
    """CPU threads."""

    def run(self) -> None:
        """Prints a line for each length."""
        check_least(self, lengths=128, contexts=1, questions=1, depths=1, seed=0, threads=1)
        th.set_num_threads(self.threads)
        network = self._network()
        table = np.zeros((len(self.lengths), self.depths))
        each = max(self.questions // self.depths, 1)
        for row, length in enumerate(self.lengths):
            start, right, found = time.process_time(), list[bool](), list[bool]()
            # Frames beyond LONG_FRAME tokens are decoded one by one; a context is computed once for all questions.
            config = EnvConfig(
                operations=("recall",), frame_length=max(length, LONG_FRAME + 1), max_tokens=200, depth=4
            )
            for context in range(self.contexts):
                asked = questions(length, (self.seed, context), self.depths, each)
                answers = solve(network, asked, config, keep_frames=True)
                right += [answer.correct for answer in answers]
                found += [looked_up(answer) for answer in answers]
            table[row] = np.reshape(found if self.lookups else right, (self.contexts, self.depths, each)).mean((0, 2))
            self._print(length, right, found, table[row], time.process_time() - start)
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

    @staticmethod
    def _print(length: int, right: list[bool], found: list[bool], row: np.ndarray, seconds: float) -> None:
        low, high = wilson(sum(right), len(right))
        by_depth = "  by depth " + " ".join(f"{share:.0%}" for share in row) if len(row) > 1 else ""
        print(f"{length:>7,} tokens: {np.mean(right):6.1%} of {len(right)} ({low:.1%} to {high:.1%})", end="")
        print(f", lookups {np.mean(found):.1%}", end="")
        print(f"{by_depth}  {seconds:.0f} CPU s", flush=True)

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
    sys.exit(guarded("recall_measure.py", lambda: parse(Measure, __doc__).run()))
