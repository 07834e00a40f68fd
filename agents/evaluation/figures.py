"""What a run shows as pictures: accuracy by the digits of both numbers, tokens an answer, the learning curve.

Figures are drawn without pyplot: it keeps a global state, and looks for a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.logger import Image

from o1nano.envs.language.expression import Binary
from o1nano.policies.search.answers import Answer


def as_image(figure: Figure) -> Image:
    """Draws a figure as an image for the logger."""
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no annotations
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3], "HWC")


def by_digits(answers: Sequence[Answer]) -> Figure:
    """Draws the accuracy by the number of digits of the first and of the second number, a panel for each task."""
    cells: dict[str, dict[tuple[int, int], list[bool]]] = {}
    for answer in answers:
        expr, level = answer.problem.expr, answer.problem.level
        if level and isinstance(expr, Binary) and isinstance(expr.left, int) and isinstance(expr.right, int):
            at = len(str(abs(expr.left))), len(str(abs(expr.right)))
            cells.setdefault(level.family, {}).setdefault(at, []).append(answer.correct)
    rows = (len(cells) + 1) // 2
    figure = Figure(figsize=(6.4, 3.2 * max(1, rows)), dpi=100, layout="constrained")
    for index, (family, results) in enumerate(cells.items()):
        size = max(map(max, results))
        grid = np.full((size, size), np.nan)
        axes = figure.add_subplot(rows, 2, index + 1)
        for (left, right), correct in results.items():
            grid[left - 1, right - 1] = np.mean(correct)
            axes.text(right, left, f"{np.mean(correct):.0%}", ha="center", va="center", fontsize=7)
        extent = (0.5, size + 0.5, size + 0.5, 0.5)
        axes.imshow(grid, vmin=0, vmax=1, cmap="RdYlGn", extent=extent)
        axes.set(title=family, xlabel="digits of the second", ylabel="digits of the first")
        axes.set_xticks(range(1, size + 1))
        axes.set_yticks(range(1, size + 1))
    return figure


def by_tokens(answers: Sequence[Answer]) -> Figure:
    """Draws how many tokens right and wrong answers took, hidden reasoning included."""
    figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    tokens = [[answer.tokens for answer in answers if answer.correct is correct] for correct in (True, False)]
    axes.hist(tokens, bins=30, stacked=True, label=["right", "wrong"], color=["tab:green", "tab:red"])
    axes.set(xlabel="tokens of an answer, hidden ones included", ylabel="answers")
    axes.legend()
    return figure


def learning_curve(history: Sequence[Sequence[float]], before: float, after: float) -> Figure:
    """Draws sampled success while PPO runs, between the held-out accuracies before and after it.

    Args:
        history: Tokens of PPO and success, of each rollout.
        before: Held-out accuracy of the warm start, greedy.
        after: The same after PPO.
    """
    figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([tokens for tokens, _ in history], [success for _, success in history], label="rollouts, sampled")
    axes.axhline(before, color="tab:orange", linestyle="--", label="warm start, held out")
    axes.axhline(after, color="tab:green", linestyle="--", label="after PPO, held out")
    axes.set(xlabel="tokens of PPO", ylabel="solved", ylim=(0, 1.02))
    axes.legend()
    return figure
