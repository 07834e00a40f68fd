"""The Game of 24: held-out puzzles solved within some paths, beside random legal steps.

The puzzles are all four numbers from 1 to 13 that make 24. Their side of the split does not depend on the order of the
numbers, so demonstrations of ``game_of_24/1`` and ``countdown/3`` show none of the test split; those of ``countdown/4``
and more may, as a subtask. Run from the root of the repository:
``python -m benchmarks.results.countdown runs/NAME --json countdown.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from benchmarks.results.workers import Workers
from evaluate import find_model
from o1nano.agents.evaluation.held_out import wilson
from o1nano.agents.evaluation.reports import check_writable, write_report
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.agents.run.progress import Display
from o1nano.envs.errors import ConfigurationError, require_choice
from o1nano.envs.problems.countdown_solver import left_overs, solvable
from o1nano.envs.problems.problem import Problem, Split, read, split_of
from o1nano.policies.search.options import MAX_TEMPERATURE, SearchOptions
from o1nano.policies.search.selection import pass_at_k
from o1nano.policies.search.solver import Solver

TARGET, LARGEST, NUMBERS = 24, 13, 4


@dataclass(frozen=True)
class Options:
    """What to measure."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run; by default the newest run, or else the shipped model."""
    paths: int = 20
    """Paths of each puzzle."""
    temperature: float = 1.0
    """Of the paths."""
    n: int = 0
    """Largest number of puzzles, evenly spread. 0 takes all."""
    split: Split = "test"
    """Which puzzles: of the test split, of the training split, or all."""
    json: Path | None = None
    """Write what was found as JSON."""
    seed: int = 0
    """Of the paths, which depend on the number of processes too."""
    batch: int = 512
    """Call stacks that a process decodes together."""
    processes: int = 0
    """Processes that share the work; 0: one for each core, four at most."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        check_least(self, paths=1, n=0, seed=0, batch=1, processes=0)
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise ConfigurationError(f"--temperature {self.temperature}; expected 0 to {MAX_TEMPERATURE}")
        require_choice("split", self.split, Split)
        if self.json is not None:
            check_writable("--json", self.json)


@cache
def puzzles() -> tuple[tuple[int, ...], ...]:
    """Returns all four numbers that make 24, each set of them once: 1,362."""
    candidates = combinations_with_replacement(range(1, LARGEST + 1), NUMBERS)
    return tuple(numbers for numbers in candidates if solvable(TARGET, numbers))


def pose(numbers: Sequence[int]) -> Problem:
    """Returns a puzzle as a problem."""
    return read(f"make {TARGET} from {', '.join(map(str, numbers))}")


def chosen(split: Split, n: int) -> list[Problem]:
    """Returns the puzzles of a side, evenly spread if they are to be fewer."""
    problems = [pose(numbers) for numbers in puzzles()]
    problems = [problem for problem in problems if split in ("all", split_of(problem.expr))]
    keep = np.linspace(0, len(problems) - 1, min(n or len(problems), len(problems))).round().astype(int)
    return [problems[index] for index in keep]


@cache
def chance(numbers: tuple[int, ...]) -> float:
    """Returns how likely random legal steps make 24: two of the numbers and an operation, until one is left.

    Every step is equally likely that stays in the whole numbers from 0, as those of the expert do.
    """
    if len(numbers) == 1:
        return float(numbers[0] == TARGET)
    return float(np.mean([chance(tuple(sorted(left))) for left in left_overs(numbers)]))


def powers(paths: int) -> list[int]:
    """Numbers of paths to report: 1, 2, 5, 10, 20, 50, ..., and all."""
    steps = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    return sorted({*(step for step in steps if step < paths), paths})


def table(right: Sequence[int], chances: Sequence[float], paths: int) -> list[dict[str, float]]:
    """Returns for each number of paths the model's share of solved puzzles, with its interval, and that by chance."""
    rows = []
    for k in powers(paths):
        share = float(np.mean([pass_at_k(paths, count, k) for count in right]))
        low, high = wilson(share * len(right), len(right))
        by_chance = float(np.mean([1 - (1 - chance) ** k for chance in chances]))
        rows.append({"paths": k, "solved": share, "low": low, "high": high, "random": by_chance})
    return rows


def measure() -> int:
    """Does what the flags say."""
    options = parse(Options, __doc__)
    options.validate()
    problems = chosen(options.split, options.n)
    chances = [chance(tuple(sorted(problem.expr.args[1:]))) for problem in problems]
    solver = Solver.load(find_model(options.model), batch=options.batch, seed=options.seed)
    display = Display(console=Console(stderr=True, highlight=False))
    display.begin("Game of 24", len(problems) * options.paths)
    work = partial(Solver.explore_all, options=SearchOptions(options.paths, options.temperature))
    with Workers(solver, options.processes) as workers:
        explored = workers.run(work, problems, display.update)
    display.end()
    right = [sum(path.correct for path in paths) for paths in explored]
    tokens = np.mean([path.tokens for paths in explored for path in paths])
    rows = table(right, chances, options.paths)
    print(f"{len(problems)} puzzles of split {options.split}, {tokens:.0f} tokens a path\n")
    print("| paths | solved [95%] | random legal steps |\n| ---: | ---: | ---: |")
    for row in rows:
        print(f"| {row['paths']} | {row['solved']:.1%} [{row['low']:.1%}, {row['high']:.1%}] | {row['random']:.1%} |")
    write_report(options.json, {"n": len(problems), "split": options.split, "rows": rows})
    return 0


def main() -> int:
    """Measures; returns the exit status, 2 for a mistake in the flags."""
    return guarded("countdown.py", measure)


if __name__ == "__main__":
    sys.exit(main())
