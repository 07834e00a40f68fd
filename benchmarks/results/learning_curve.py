"""Draws what runs have learned: sampled success by size against PPO tokens, from their TensorBoard files.

python -m benchmarks.results.learning_curve runs/reference-* --out docs/images/learning.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import tyro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.errors import ConfigurationError

SIZES = (2, 3, 4, 5, 6, 7, 8)
TASKS = ("addition", "subtraction", "multiplication", "division")


@dataclass(frozen=True)
class Options:
    """What to draw."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs; each is one seed."""
    out: Path = Path("docs/images/learning.png")
    """The picture."""
    bins: int = 40
    """Points of a curve: each is the mean over its share of the run."""


def curve(events: EventAccumulator, tag: str, edges: np.ndarray) -> np.ndarray:
    """Returns the mean of a scalar in each bin of steps, NaN for an empty bin."""
    if tag not in events.Tags()["scalars"]:
        return np.full(len(edges) - 1, np.nan)
    scalars = events.Scalars(tag)
    where = np.digitize([scalar.step for scalar in scalars], edges) - 1
    values = np.array([scalar.value for scalar in scalars])
    return np.array([values[where == b].mean() if (where == b).any() else np.nan for b in range(len(edges) - 1)])


def read(folder: Path) -> EventAccumulator:
    """Reads every scalar of a folder of events."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def main() -> None:
    """Draws one panel a task; thin lines are seeds, thick ones their mean."""
    options = parse(Options, __doc__)
    check_least(options, bins=1)
    if not options.runs:
        raise ConfigurationError("no run; expected folders of runs")
    runs = []
    for folder in options.runs:
        if not any(folder.glob("events.out.tfevents.*")):
            raise ConfigurationError(f"no TensorBoard events in {folder}; expected folders of runs")
        runs.append(read(folder))
    # A run's axis is tokens of the warm start, then of PPO: the first iteration of PPO is the origin here.
    steps = [scalar.step for events in runs for scalar in events.Scalars("rollout/ep_rew_mean")]
    edges = np.linspace(min(steps), max(steps) + 1, options.bins + 1)
    middle = ((edges[1:] + edges[:-1]) / 2 - min(steps)) / 1e6
    figure, axes = plt.subplots(1, len(TASKS), figsize=(15, 3.6), sharey=True, layout="constrained")
    colours = plt.cm.viridis(np.linspace(0, 0.9, len(SIZES)))
    for axis, task in zip(axes, TASKS, strict=True):
        for size, colour in zip(SIZES, colours, strict=True):
            # The curves of each size are in a folder of their own.
            of_size = [folder / f"size_{size}" for folder in options.runs]
            if not all(folder.is_dir() for folder in of_size):
                continue
            curves = np.array([curve(read(folder), f"accuracy/{task}", edges) for folder in of_size])
            if np.isnan(curves).all():
                continue
            axis.plot(middle, curves.T, color=colour, alpha=0.3, linewidth=0.7)
            seen = ~np.isnan(curves).all(0)
            mean = np.nanmean(curves[:, seen], 0)
            axis.plot(middle[seen], mean, color=colour, linewidth=2, label=f"{size} digits")
        axis.set(title=task, xlabel="million PPO tokens", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("solved (sampled)")
    axes[0].legend(title="demonstrated: up to 3", fontsize=8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(guarded("learning_curve.py", main))
