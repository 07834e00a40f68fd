"""The mean of a run's weights before and after PPO, measured again; the last step of the recipe of the shipped model.

python -m benchmarks.recipes.average runs/everything --out o1_model.pth

PPO on thirty families makes large sums and products better, and long searches worse. The mean of both networks keeps
most of either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch as th
import tyro
from rich.console import Console

from o1nano.agents.evaluation.held_out import Cell, held_out, tabulate
from o1nano.agents.evaluation.reports import check_writable
from o1nano.agents.run.cli import guarded, parse
from o1nano.agents.run.progress import Display
from o1nano.agents.run.run import BEFORE_PPO_FILE, MODEL_FILE
from o1nano.envs.errors import CheckpointError, ConfigurationError
from o1nano.envs.problems.problem import read_level
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies import model_file
from o1nano.policies.record import LevelRecord, TrainingRecord
from o1nano.policies.search.solver import Solver


@dataclass(frozen=True)
class Options:
    """What to average."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run."""
    out: Path = Path("o1_model.pth")
    """Where the model is written."""
    after: Annotated[float, Range(0, 1)] = 0.5
    """Weight of the network after PPO; the one before it has the rest."""
    problems_per_level: Annotated[int, Range(1, 10**6)] = 20
    """Held-out problems of each level that the run has measured."""


def average(before: dict[str, th.Tensor], after: dict[str, th.Tensor], weight: float) -> dict[str, th.Tensor]:
    """Returns ``(1 - weight) * before + weight * after``, tensor by tensor."""
    return {name: th.lerp(before[name], after[name], weight) for name in before}


def measured_again(record: TrainingRecord, cells: list[Cell]) -> TrainingRecord:
    """Returns a record with new held-out accuracies; the training stays as it was."""
    levels = dict(record.levels)
    for cell in cells:
        old = levels.get(cell.name, LevelRecord())
        levels[cell.name] = replace(old, problems=cell.n, accuracy=cell.accuracy)
    return replace(record, levels=levels)


def check(options: Options) -> None:
    """Checks the flags before anything is measured.

    Raises:
        ConfigurationError: If a value makes no sense.
    """
    check_ranges(options)
    if not (options.run / "results.json").is_file():
        raise ConfigurationError(f"{options.run} has no results.json; expected a finished run of train_rl.py")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    check_writable("--out", options.out)


def main() -> None:
    """Averages, measures and writes."""
    options = parse(Options, __doc__)
    check(options)
    before = model_file.load_all(options.run / BEFORE_PPO_FILE)
    after = model_file.load_all(options.run / MODEL_FILE)
    if after.record is None:
        raise CheckpointError(f"{options.run / MODEL_FILE} has no record of its training; expected a file of today")

    weights = average(before.network.state_dict(), after.network.state_dict(), options.after)
    network = after.network
    network.load_state_dict(weights)

    # The levels and the phrasing are those of the run's own evaluation.
    content = json.loads((options.run / "results.json").read_text())
    config = json.loads((options.run / "config.json").read_text())["config"]
    levels = [read_level(saved["name"]) for saved in content["after"]]
    problems = held_out(levels, options.problems_per_level, phrasing=config["phrasing"])

    display = Display(console=Console(stderr=True))
    display.begin("measuring", len(problems))
    solver = Solver(network, after.env, tokens=after.tokens)
    solver.make_room(levels)
    cells = tabulate(solver.solve_all(problems, progress=display.update))
    display.end()

    earlier = {saved["name"]: Cell.restore(saved) for saved in content["before"]}
    later = {saved["name"]: Cell.restore(saved) for saved in content["after"]}
    print(f"{'held out, greedy':26}{'n':>5}{'before PPO':>12}{'after PPO':>12}{'average':>10}")
    for cell in cells:
        old = earlier[cell.name].accuracy
        new = later[cell.name].accuracy
        print(f"{cell.name:26}{cell.n:5}{old:12.0%}{new:12.0%}{cell.accuracy:10.0%}")

    training = {"averaged": {"run": config["name"], "after": options.after}, "config": config}
    record = measured_again(after.record, cells)
    model_file.save(options.out, network, after.env, training, record)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(guarded("average.py", main))
