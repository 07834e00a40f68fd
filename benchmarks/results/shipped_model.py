"""Re-measures what the shipped model is said to reach, from its weights alone; prints markdown.

The ten arithmetic tasks of the GPT-3 paper, products of 1 to 9 by 1 to 9 digits, quotients of 1 to 8 by 1 to 4 digits:
problems of the test split, asked in words, greedy, one path. Then products of 20 by 20 digits. Run from the root of the
repository:
``python -m benchmarks.results.shipped_model --json results.json --out docs/images/products.png``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.results.questions import Question, arithmetic_tasks, products, quotients
from benchmarks.results.workers import Workers
from evaluate import PRETRAINED, find_model
from o1nano.agents.evaluation.held_out import Cell, held_out, summarise, wilson
from o1nano.agents.evaluation.reports import check_writable, write_report
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.agents.run.hardware import versions
from o1nano.agents.run.progress import Display
from o1nano.envs.problems.problem import Level, Problem
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

LONGEST_CONTEXT = 512  # of the products of 20 digits


@dataclass(frozen=True)
class Options:
    """What to measure."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run; by default the shipped model."""
    tasks: int = 2000
    """Problems of each task of the GPT-3 paper; all that there are, where they are fewer."""
    n: int = 200
    """Problems of each size of products and quotients; all that there are, where they are fewer."""
    twenty: int = 100
    """Products of 20 by 20 digits."""
    votes: int = 1
    """Ways in which each subtask of these is run before the majority decides."""
    quick: bool = False
    """A first look: 100 problems of each task, 10 of each size and 10 of 20 by 20 digits at most."""
    json: Path | None = None
    """Write what was found as JSON."""
    out: Path | None = None
    """Draw the accuracy of products and quotients by size."""
    seed: int = 0
    """Which problems."""
    batch: int = 512
    """Call stacks that a process decodes together."""
    processes: int = 0
    """Processes that share the work; 0: one for each core, four at most."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        check_least(self, tasks=1, n=1, twenty=0, votes=1, seed=0, batch=1, processes=0)
        for flag, path in (("--json", self.json), ("--out", self.out)):
            if path is not None:
                check_writable(flag, path)


class Measurement:
    """A model, and what has been found out about it.

    Args:
        options: What to measure.
    """

    def __init__(self, options: Options) -> None:
        few = replace(options, tasks=min(options.tasks, 100), n=min(options.n, 10), twenty=min(options.twenty, 10))
        self.options = few if options.quick else options
        path = PRETRAINED if options.model is None else find_model(options.model)
        self.solver = Solver.load(path, batch=options.batch, seed=options.seed)
        self.display = Display(console=Console(stderr=True, highlight=False))
        self.workers = Workers(self.solver, options.processes)
        self.found: dict[str, Any] = {"model": str(path), "versions": versions()}

    def run(self) -> None:
        """Measures everything, printing each table as soon as it is there."""
        with self.workers:
            self._run()

    def _run(self) -> None:
        options, started = self.options, time.monotonic()
        size = sum(parameter.numel() for parameter in self.solver.network.parameters()) / 1e6
        questions = arithmetic_tasks()
        cells = self.ask("tasks", questions, options.tasks)
        print("\n".join(task_table(questions, cells, options.tasks, size)), flush=True)
        grids: dict[str, list[Cell]] = {}
        for name, asked in (("products", products()), ("quotients", quotients())):
            grids[name] = self.ask(name, asked, options.n)
            print("\n".join(grid_table(name, grids[name], options.n)), flush=True)
        if options.out is not None:
            draw(grids, options.out)
        if options.twenty:
            print(self.products_of_twenty_digits(), flush=True)
        self.found["seconds"] = round(time.monotonic() - started)
        print(f"\nmeasured in {self.found['seconds'] / 60:.1f} minutes")
        write_report(options.json, self.found)

    def ask(self, section: str, questions: Sequence[Question], n: int) -> list[Cell]:
        """Asks up to n problems of each question, all of them in one batch; returns a cell for each question."""
        drawn = [question.draw(n, self.options.seed) for question in questions]
        answers = iter(self.answer(section, [problem for problems in drawn for problem in problems]))
        cells = [
            summarise(question.name, [next(answers) for _ in problems])
            for question, problems in zip(questions, drawn, strict=True)
        ]
        self.found[section] = [
            {**cell.as_dict(), "reported": question.reported} for question, cell in zip(questions, cells, strict=True)
        ]
        return cells

    def answer(self, section: str, problems: list[Problem], how: SearchOptions | None = None) -> list[Answer]:
        """Answers problems, showing how many are done."""
        self.display.begin(section, len(problems))
        answers = self.workers.run(partial(Solver.solve_all, options=how), problems, self.display.update)
        self.display.end()
        return answers

    def products_of_twenty_digits(self) -> str:
        """Measures products in frames of at most ``LONGEST_CONTEXT`` tokens; returns a line."""
        options, level, config = self.options, Level("multiplication", 20, 20), self.solver.config
        self.solver.config = replace(config, frame_length=LONGEST_CONTEXT)
        self.solver.make_room([level])
        problems = held_out([level], options.twenty, options.seed, "symbolic")
        how = SearchOptions(votes=options.votes, reuse_subtasks=True)
        answers = self.answer("20 by 20 digits", problems, how)
        self.solver.config = config
        cell = summarise("multiplication/20x20", answers)
        longest = max(answer.usage.longest_context for answer in answers)
        self.found["twenty"] = {**cell.as_dict(), "votes": options.votes, "longest_context": longest}
        return (
            f"\n20 by 20 digits, equal subtasks shared, votes on each: {options.votes}: {percent(cell)} of {cell.n}, "
            f"{cell.tokens:,.0f} tokens, longest context {longest}"
        )


def percent(cell: Cell) -> str:
    """Returns an accuracy with its interval."""
    low, high = cell.interval
    return f"{cell.accuracy:.1%} [{low:.1%}, {high:.1%}]"


def task_table(questions: Sequence[Question], cells: Sequence[Cell], n: int, size: float) -> list[str]:
    """Returns the lines of the table of tasks.

    Args:
        questions: The tasks.
        cells: What was found on each.
        n: Problems that were asked for: a task with fewer has no more in the test split.
        size: Millions of parameters.
    """
    rows = [
        f"| task | asked as | problems | O1-nano, {size:.2f}M parameters (specialist) [95%] | "
        "GPT-3 175B, few-shot (generalist, 2020) |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for question, cell in zip(questions, cells, strict=True):
        drawn = f"{cell.n:,}" if cell.n == n else f"{cell.n:,} (all)"
        reported = "" if question.reported is None else f"{question.reported:.1f}%"
        rows.append(f"| {question.name} | {question.example} | {drawn} | {percent(cell)} | {reported} |")
    if any(cell.n < n for cell in cells):
        rows += ["", "All: the test split has no more. 98 times 45 and 45 times 98 are two problems, on the same side."]
    return rows


def grid_table(name: str, cells: Sequence[Cell], n: int) -> list[str]:
    """Returns the lines of a table by digits of the first number (rows) and the second, with mean and worst cell."""
    accuracy = by_size(cells)
    rows = ["", f"| {name}, digits | " + " | ".join(str(column + 1) for column in range(accuracy.shape[1])) + " |"]
    rows.append("| --- |" + " ---: |" * accuracy.shape[1])
    for row, values in enumerate(accuracy):
        rows.append(f"| {row + 1} | " + " | ".join(f"{value:.1%}" for value in values) + " |")
    correct, total = sum(cell.correct for cell in cells), sum(cell.n for cell in cells)
    low, high = wilson(correct, total)
    worst = min(cells, key=lambda cell: cell.accuracy)
    few = ", ".join(f"{cell.name} has {cell.n}" for cell in cells if cell.n < n)
    return [
        *rows,
        "",
        f"{name}: mean of {len(cells)} sizes {accuracy.mean():.2%}; all {total:,} problems {correct / total:.2%} "
        f"[{low:.2%}, {high:.2%}]; worst size {worst.name} {percent(worst)} of {worst.n}.",
        *([f"Sizes of fewer than {n} problems in the test split: {few}."] if few else []),
    ]


def by_size(cells: Sequence[Cell]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Returns the accuracy by digits of the first number and of the second."""
    sizes = [tuple(map(int, cell.name.split("/")[1].split("x"))) for cell in cells]
    grid = np.full((max(left for left, _ in sizes), max(right for _, right in sizes)), np.nan)
    for (left, right), cell in zip(sizes, cells, strict=True):
        grid[left - 1, right - 1] = cell.accuracy
    return grid


def draw(grids: Mapping[str, Sequence[Cell]], out: Path) -> None:
    """Draws the accuracy by size, a panel for each operation."""
    figure = Figure(figsize=(9.6, 5), dpi=110, layout="constrained")
    shapes = [by_size(cells).shape for cells in grids.values()]
    panels = figure.subplots(1, len(grids), width_ratios=[columns for _, columns in shapes])
    for axes, (name, cells) in zip(panels, grids.items(), strict=True):
        grid = by_size(cells)
        axes.imshow(grid, vmin=0, vmax=1, cmap="RdYlGn")
        for (row, column), value in np.ndenumerate(grid):
            axes.text(column, row, f"{100 * value:.3g}", ha="center", va="center", fontsize=8)
        axes.set_xticks(range(grid.shape[1]), range(1, grid.shape[1] + 1))
        axes.set_yticks(range(grid.shape[0]), range(1, grid.shape[0] + 1))
        axes.set(title=f"{name}, % right", xlabel="digits of the second", ylabel="digits of the first")
    figure.savefig(out)


def measure() -> int:
    """Does what the flags say."""
    options = parse(Options, __doc__)
    options.validate()
    Measurement(options).run()
    return 0


def main() -> int:
    """Measures; returns the exit status, 2 for a mistake in the flags."""
    return guarded("shipped_model.py", measure)


if __name__ == "__main__":
    sys.exit(main())
