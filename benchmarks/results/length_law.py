"""How many tokens of PPO it takes until n digits are solved: a power law fitted to the curves of runs.

python -m benchmarks.results.length_law runs/reference-* --out docs/images/length_law.png

The success at a size is that of sampled practice problems, over windows of at least 64 episodes (TensorBoard's
``accuracy/FAMILY`` in ``size_N``). A size counts as solved at the first window that reaches the threshold. Sizes that
were demonstrated are left out: imitation has solved them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import tyro

from benchmarks.results.learning_curve import TASKS, read
from o1nano.agents.run.cli import guarded, parse
from o1nano.agents.run.plans import read_plans
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems import SUMS
from o1nano.envs.ranges import Range, check_ranges


@dataclass(frozen=True)
class Options:
    """What to fit."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs; each is one seed."""
    solved: Annotated[float, Range(0.01, 1)] = 0.9
    """Success at which a size counts as solved."""
    out: Path | None = None
    """The picture."""


@dataclass(frozen=True)
class Law:
    """``tokens = factor * size ** exponent``, fitted by least squares to the logarithms.

    Attributes:
        factor: Tokens at size 1.
        exponent: The power.
        error: Standard error of the exponent; NaN with fewer than three points.
        fit: R² of the logarithms.
    """

    factor: float
    exponent: float
    error: float
    fit: float


def fit_law(sizes: Sequence[float], tokens: Sequence[float]) -> Law:
    """Fits a power law.

    Args:
        sizes: At least two different ones.
        tokens: Above 0, one for each size.
    """
    x = np.log(np.asarray(sizes, dtype=float))
    y = np.log(np.asarray(tokens, dtype=float))
    spread = float(np.sum((x - x.mean()) ** 2))
    exponent = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    intercept = float(y.mean() - exponent * x.mean())

    rest = float(np.sum((y - intercept - exponent * x) ** 2))
    error = float(np.sqrt(rest / (len(x) - 2) / spread)) if len(x) > 2 else float("nan")
    total = float(np.sum((y - y.mean()) ** 2))
    return Law(float(np.exp(intercept)), exponent, error, 1 - rest / total if total else 1.0)


def tokens_until_solved(folder: Path, task: str, threshold: float) -> dict[int, int]:
    """Returns for each size beyond the demonstrations that a run has solved the tokens of PPO that it took.

    Args:
        folder: The run's.
        task: The family.
        threshold: Success at which a size counts as solved.
    """
    content = json.loads((folder / "config.json").read_text())["config"]
    plan = read_plans(content.get("plans", ())).get(task)
    demonstrated = content["sum_digits" if task in SUMS else "product_digits"] if plan is None else plan.demonstrated
    results = json.loads((folder / "results.json").read_text())
    # TensorBoard's axis counts the tokens of the warm start first.
    start = results["warm_start"]["tokens"]

    found = {}
    for path in folder.glob("size_*"):
        size = int(path.name.removeprefix("size_"))
        events = read(path)
        tag = f"accuracy/{task}"
        if size <= demonstrated or tag not in events.Tags()["scalars"]:
            continue
        reached = [point.step for point in events.Scalars(tag) if point.value >= threshold]
        if reached:
            found[size] = max(1, min(reached) - start)
    return dict(sorted(found.items()))


def show(task: str, by_run: Sequence[Mapping[int, int]]) -> Law | None:
    """Prints the tokens of a family by size and the law; returns it, or None if there are too few sizes."""
    sizes = sorted(set().union(*by_run))
    print(f"\n{task}: million tokens of PPO until solved, a column for each run")
    for size in sizes:
        print(f"{size:4}" + "".join(f"{run[size] / 1e6:8.2f}" if size in run else f"{'-':>8}" for run in by_run))

    points = [(size, tokens) for run in by_run for size, tokens in run.items()]
    if len({size for size, _ in points}) < 3:
        print("  too few sizes were solved for a fit")
        return None
    law = fit_law([size for size, _ in points], [tokens for _, tokens in points])
    print(f"  tokens = {law.factor:.3g} * n ** {law.exponent:.2f} (standard error {law.error:.2f}), R² {law.fit:.2f}")
    return law


def draw(found: Mapping[str, Sequence[Mapping[int, int]]], laws: Mapping[str, Law], out: Path) -> None:
    """Draws the points of all runs, and the laws as lines, on two logarithmic axes."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for task, law in laws.items():
        points = np.array([point for run in found[task] for point in run.items()], dtype=float)
        (drawn,) = axes.plot(points[:, 0], points[:, 1], "o", markersize=4)
        line = np.array([points[:, 0].min(), points[:, 0].max()])
        label = f"{task}: n^{law.exponent:.2f} ± {law.error:.2f}"
        axes.plot(line, law.factor * line**law.exponent, color=drawn.get_color(), label=label)
    axes.set(xlabel="digits", ylabel="tokens of PPO until solved", xscale="log", yscale="log")
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    print(f"wrote {out}")


def main() -> None:
    """Reads the runs, prints tables and laws."""
    options = parse(Options, __doc__)
    check_ranges(options)
    if not options.runs:
        raise ConfigurationError("no run; expected folders of runs")
    for folder in options.runs:
        if not (folder / "results.json").is_file():
            raise ConfigurationError(f"{folder} has no results.json; expected a finished run of train_rl.py")

    found = {}
    laws = {}
    for task in TASKS:
        found[task] = [tokens_until_solved(folder, task, options.solved) for folder in options.runs]
        law = show(task, found[task])
        if law is not None:
            laws[task] = law
    if options.out is not None:
        draw(found, laws, options.out)


if __name__ == "__main__":
    sys.exit(guarded("length_law.py", main))
