"""What finished runs of ``ablations.py`` are compared by: their figures, a table, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from o1nano.envs.problems.problem import sizes
from o1nano.envs.seeding import stream

FAMILIES = ("addition", "subtraction", "multiplication", "division")
SOLVED = 0.9


def outcome(folder: Path, share: float, imitated: int) -> dict[str, Any]:
    """Returns what is compared of a finished run.

    Its tokens are those that the expert or the policy has emitted: of the frames of the warm start that share.
    ``imitated`` are the tokens of the warm start that it began with.
    """
    results = json.loads((folder / "results.json").read_text())
    cells = {cell["name"]: cell["accuracy"] for cell in results["after"]}
    return {
        "run": folder.name,
        "average": small_average(cells),
        "solved": {family: solved(cells, family) for family in FAMILIES},
        "tokens": round(share * (imitated + results["warm_start"]["tokens"])) + results["ppo"]["tokens"],
        "ppo_tokens": results["ppo"]["tokens"],
        "calls": float(np.mean([cell["subtasks"] for cell in results["after"]])),
        "cells": cells,
        "curves": curves(folder),
    }


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns for each family PPO's tokens and the solved size, whenever it changed while PPO ran, and at the end.

    Sizes that a curriculum has passed count as solved: it may draw those too seldom to measure.
    """
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for family in FAMILIES:
        measured, opened = (
            events.Scalars(tag) if tag in events.Tags()["scalars"] else []
            for tag in (f"solved/{family}", f"curriculum/{family}")
        )
        passed = [event.value - 1 if event.value > opened[0].value else 0.0 for event in opened]
        points = [(event.step, max(event.value, size)) for event, size in zip(measured, passed, strict=True)]
        before = [None, *(size for _, size in points)]
        changes = [point for point, size in zip(points, before, strict=False) if point[1] != size]
        found[family] = [*changes, *points[-1:]]
    return found


def small_average(cells: dict[str, float]) -> float:
    """Returns the mean accuracy over 1 to 3 digits of the four operations, whatever else a run has measured."""
    small = set(map(str, sizes(FAMILIES, (1, 3))))
    return float(np.mean([accuracy for name, accuracy in cells.items() if name in small]))


def solved(cells: dict[str, float], family: str) -> int:
    """Returns up to which size all cells of a family are solved."""
    size = 0
    while cells.get(f"{family}/{size + 1}", 0.0) >= SOLVED:
        size += 1
    return size


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the lowest and the highest quarter, rounded down: of up to three, of all."""
    cut = values.shape[-1] // 4
    kept: np.ndarray = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return kept.mean(-1)


def estimate(values: Sequence[float], samples: int = 10_000) -> dict[str, Any]:
    """Interquartile mean over seeds, its 95% bootstrap interval (Agarwal et al. 2021), and every seed."""
    own = np.array(values, dtype=np.float64)
    again = stream("bootstrap", len(own)).choice(own, (samples, len(own)))
    low, high = np.quantile(interquartile_mean(again), (0.025, 0.975))
    return {"mean": float(interquartile_mean(own)), "low": float(low), "high": float(high), "seeds": list(values)}


def summarise(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Estimates every column of the table."""
    columns = {name: [found[name] for found in outcomes] for name in ("average", "tokens", "calls")}
    columns |= {family: [found["solved"][family] for found in outcomes] for family in FAMILIES}
    return {name: estimate(values) for name, values in columns.items()}


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Returns a markdown table: interquartile mean, interval, and every seed in order."""
    forms = {"average": "{:.1%}", **dict.fromkeys(FAMILIES, "{:.3g}"), "tokens": "{:,.0f}", "calls": "{:.2f}"}
    heads = [
        "variant",
        "1 to 3 digits",
        *(f"{family} solved to" for family in FAMILIES),
        "emitted tokens",
        "calls an answer",
    ]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * len(forms)]
    for variant, outcomes in found.items():
        columns = summarise(outcomes)
        cells = []
        for name, form in forms.items():
            mean, low, high = (form.format(columns[name][key]) for key in ("mean", "low", "high"))
            seeds = ", ".join(map(form.format, columns[name]["seeds"]))
            cells.append(f"{mean} [{low}, {high}] ({seeds})")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draws solved size against tokens: a line a seed, sampled while PPO runs; its end is held out and greedy."""
    figure = Figure(figsize=(15, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(FAMILIES))
    for index, (variant, outcomes) in enumerate(found.items()):
        for seed, run in enumerate(outcomes):
            for axis, family in zip(axes, FAMILIES, strict=True):
                points = run["curves"][family]
                steps = [(run["tokens"] - run["ppo_tokens"] + step) / 1e6 for step, _ in points]
                sizes = [size for _, size in points]
                style = {"color": f"C{index % 10}", "linestyle": "-" if index < 10 else "--"}
                axis.step(steps, sizes, **style, alpha=0.6, linewidth=1, where="post")
                label = None if seed else variant
                axis.plot(run["tokens"] / 1e6, run["solved"][family], "o", color=style["color"], label=label)
    for axis, family in zip(axes, FAMILIES, strict=True):
        axis.set(
            title=family, xlabel="million emitted tokens, warm start included", ylim=(0, max(1, axis.get_ylim()[1]))
        )
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"digits solved at {SOLVED:.0%}, or passed")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    return figure
