"""A model on every registered environment, at its default arguments: held-out problems, one greedy path; markdown.

python -m benchmarks.results.registered_ids --n 500
python -m benchmarks.results.registered_ids --before runs/everything/before_ppo.pth    # with a column of that model

Recall and Ledger are left out: they have a model of their own. Problems are drawn as an episode draws them, from the
test split, each only once. Families with few problems may have fewer than were asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import tyro
from rich.console import Console

from evaluate import find_model
from o1nano.agents.evaluation.held_out import Cell, summarise
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.agents.run.progress import Display
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Problem
from o1nano.envs.problems.registry import canonical
from o1nano.envs.registration import IDS
from o1nano.envs.seeding import stream
from o1nano.policies.pretrained import shipped_model
from o1nano.policies.search.solver import Solver

LONG = ("o1nano/Recall-v0", "o1nano/Ledger-v0")
# Draws without a new problem after which there are no others, for each problem found.
_PATIENCE = 20


@dataclass(frozen=True)
class Options:
    """What to measure."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run; by default the shipped model."""
    before: Path | None = None
    """Another model, for a column before it: such as the run's before_ppo.pth."""
    n: int = 500
    """Problems of each environment."""
    ids: tuple[str, ...] = ()
    """Which environments, as GCD-v0; by default all."""
    seed: int = 0
    """Of the problems."""


def problems_of(name: str, n: int, seed: int) -> list[Problem]:
    """Draws different problems of an environment from its test split.

    Args:
        name: A registered id.
        n: Problems; fewer if there are no more.
        seed: Chooses them.
    """
    split = IDS[name].get("split", "test")
    episodes = gym.make(name, split=split).unwrapped.episodes  # type: ignore[attr-defined]
    rng = stream("registered", name, seed)

    found: dict[str, Problem] = {}
    repeats = 0
    while len(found) < n and repeats < _PATIENCE * (len(found) + 1):
        (problem,) = episodes.choose([rng], new_group=True)
        key = canonical(problem.expr)
        if key in found:
            repeats += 1
        else:
            found[key] = problem
            repeats = 0
    return list(found.values())


def chosen_ids(given: Sequence[str]) -> list[str]:
    """Returns the full names of the environments to measure.

    Args:
        given: Names without their namespace, as GCD-v0; none means all.

    Raises:
        ConfigurationError: If there is no such environment, or it is one of those that are left out.
    """
    known = {name.removeprefix("o1nano/"): name for name in IDS if name not in LONG}
    for name in given:
        if name not in known:
            raise ConfigurationError(f"ids={name[:40]!r}; expected {', '.join(known)}")
    return [full for short, full in known.items() if short in given or not given]


def measure(path: Path, name: str, problems: Sequence[Problem], display: Display) -> Cell:
    """Answers the problems of an environment.

    Args:
        path: The model.
        name: The environment.
        problems: Its problems.
        display: Shows the progress.
    """
    solver = Solver.load(path)
    solver.make_room({problem.level for problem in problems if problem.level is not None})
    display.begin(f"{name}, {path.name}", len(problems))
    answers = solver.solve_all(problems, progress=display.update)
    display.end()
    return replace(summarise(name, answers), name=name.removeprefix("o1nano/"))


def main() -> None:
    """Prints a row for each environment."""
    options = parse(Options, __doc__)
    check_least(options, n=1)
    model = find_model(options.model or shipped_model())
    display = Display(console=Console(stderr=True))
    chosen = chosen_ids(options.ids)

    heads = ["environment", "n", *(["before"] if options.before else []), "right", "95% interval", "tokens"]
    print("| " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * (len(heads) - 1))
    for name in chosen:
        problems = problems_of(name, options.n, options.seed)
        columns = []
        if options.before is not None:
            columns.append(f"{measure(options.before, name, problems, display).accuracy:.1%}")
        cell = measure(model, name, problems, display)
        low, high = cell.interval
        columns += [f"{cell.accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{cell.tokens:.0f}"]
        print(f"| {cell.name} | {cell.n} | " + " | ".join(columns) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(guarded("registered_ids.py", main))
