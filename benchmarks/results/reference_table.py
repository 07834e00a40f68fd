"""Prints the results of reference runs as a markdown table, every seed shown.

python -m benchmarks.results.reference_table runs/reference-0 runs/reference-1 runs/reference-2
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from o1nano.agents.run.cli import guarded, parse
from o1nano.envs.errors import ConfigurationError


@dataclass(frozen=True)
class Options:
    """What to show."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished runs."""


def row(name: str, pairs: list[tuple[float, float]]) -> str:
    """Returns one line: before -> after for every seed, and the means."""
    before, after = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    seeds = " | ".join(f"{old:.0%} → {new:.0%}" for old, new in pairs)
    return f"| {name} | {seeds} | {before:.1%} → {after:.1%} |"


def main() -> None:
    """Prints the table."""
    runs = parse(Options, __doc__).runs
    if not runs:
        raise ConfigurationError("no run; expected folders of finished runs")
    results: list[dict[str, Any]] = [json.loads((folder / "results.json").read_text()) for folder in runs]
    print(f"| task/size | {' | '.join(f'seed {index}' for index in range(len(results)))} | mean |")
    print("| --- |" + " --- |" * (len(results) + 1))
    for index, cell in enumerate(results[0]["after"]):
        pairs = [(run["before"][index]["accuracy"], run["after"][index]["accuracy"]) for run in results]
        print(row(cell["name"], pairs))
    print(row("demonstrated sizes, mean", [(run["average_before"], run["average_after"]) for run in results]))
    calls = [
        tuple(sum(cell["subtasks"] for cell in run[when]) / len(run[when]) for when in ("before", "after"))
        for run in results
    ]
    print("| calls an answer, mean | " + " | ".join(f"{old:.1f} → {new:.1f}" for old, new in calls) + " | |")


if __name__ == "__main__":
    sys.exit(guarded("reference_table.py", main))
