"""Figures of a run: accuracy by the digits of both numbers, tokens of answers, the learning curve.

They are drawn without pyplot, which keeps a global state and looks for a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.logger import Image

from o1nano.envs.language.expression import Binary
from o1nano.policies.search.answers import Answer

# Digits of the first and of the second number -> whether each answer was right.
_Cells = dict[tuple[int, int], list[bool]]


def as_image(figure: Figure) -> Image:
    """Draws a figure as an image for the logger."""
    # The logger takes pixels, so that the picture is the same whichever backend matplotlib would choose.
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no annotations
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3], "HWC")


def by_digits(answers: Sequence[Answer]) -> Figure:
    """Draws the accuracy by the number of digits of the first and the second number, one panel for each task."""
    families = _by_family(answers)
    # Two panels in a row; a figure without answers still needs a height.
    rows = max(1, (len(families) + 1) // 2)
    figure = Figure(figsize=(6.4, 3.2 * rows), dpi=100, layout="constrained")
    for index, (family, cells) in enumerate(families.items()):
        axes = figure.add_subplot(rows, 2, index + 1)
        axes.set(title=family, xlabel="digits of the second", ylabel="digits of the first")
        _draw_cells(axes, cells)
    return figure


def _by_family(answers: Sequence[Answer]) -> dict[str, _Cells]:
    """Groups the answers to problems of two numbers by task and digits."""
    families: dict[str, _Cells] = {}
    for answer in answers:
        # Other problems, such as lists, have no two numbers to draw.
        expr = answer.problem.expr
        level = answer.problem.level
        if level and isinstance(expr, Binary) and isinstance(expr.left, int) and isinstance(expr.right, int):
            digits = len(str(abs(expr.left))), len(str(abs(expr.right)))
            families.setdefault(level.family, {}).setdefault(digits, []).append(answer.correct)
    return families


def _draw_cells(axes: Axes, cells: _Cells) -> None:
    """Draws a square of accuracies; pairs of digits without a problem stay white."""
    size = max(map(max, cells))
    accuracy = np.full((size, size), np.nan)
    for (left, right), correct in cells.items():
        accuracy[left - 1, right - 1] = np.mean(correct)
        axes.text(right, left, f"{np.mean(correct):.0%}", ha="center", va="center", fontsize=7)

    # Cell (1, 1) is centred at 1, so the picture reaches from half a digit to half a digit above the size.
    extent = (0.5, size + 0.5, size + 0.5, 0.5)
    axes.imshow(accuracy, vmin=0, vmax=1, cmap="RdYlGn", extent=extent)
    axes.set_xticks(range(1, size + 1))
    axes.set_yticks(range(1, size + 1))


def by_tokens(answers: Sequence[Answer]) -> Figure:
    """Draws the number of tokens of right and of wrong answers, hidden reasoning included."""
    right: list[int] = []
    wrong: list[int] = []
    for answer in answers:
        (right if answer.correct else wrong).append(answer.tokens)

    # Stacked, so that the height of a bar is the number of all answers of that length.
    figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.hist([right, wrong], bins=30, stacked=True, label=["right", "wrong"], color=["tab:green", "tab:red"])
    axes.set(xlabel="tokens of an answer, hidden ones included", ylabel="answers")
    axes.legend()
    return figure


def learning_curve(history: Sequence[Sequence[float]], before: float, after: float) -> Figure:
    """Draws sampled success during PPO, between the held-out accuracies before and after it.

    Args:
        history: Tokens of PPO so far and success, of each rollout.
        before: Held-out accuracy after the warm start, greedy.
        after: The same after PPO.
    """
    tokens = [point[0] for point in history]
    success = [point[1] for point in history]

    figure = Figure(figsize=(6, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(tokens, success, label="rollouts, sampled")
    axes.axhline(before, color="tab:orange", linestyle="--", label="warm start, held out")
    axes.axhline(after, color="tab:green", linestyle="--", label="after PPO, held out")
    axes.set(xlabel="tokens of PPO", ylabel="solved", ylim=(0, 1.02))
    axes.legend()
    return figure
