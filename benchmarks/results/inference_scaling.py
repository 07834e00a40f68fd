"""Accuracy against tokens at inference: paths, ways of choosing, votes per subtask, budgets, revision.

python -m benchmarks.results.inference_scaling runs/NAME/o1_model.pth --out docs/images/test_time.png
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch as th
import tyro

from o1nano.agents.evaluation.held_out import held_out
from o1nano.agents.evaluation.probes import revise
from o1nano.agents.evaluation.reports import check_writable
from o1nano.agents.run.cli import check_least, guarded, parse
from o1nano.envs.problems.problem import Problem, read_level
from o1nano.envs.seeding import stream
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.checking import Calculator, check_claims
from o1nano.policies.search.options import SearchOptions, Select
from o1nano.policies.search.selection import select_answer
from o1nano.policies.search.self_checks import Claim, read_claim
from o1nano.policies.search.solver import Solver

WAYS: tuple[Select, ...] = get_args(Select)
Found = tuple[list[list[Answer]], list[list[int]]]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    model: Annotated[Path, tyro.conf.Positional]
    """An o1_model.pth or the folder of a run."""
    levels: tuple[str, ...] = ("multiplication/4", "division/4")
    """Half known: the model solves 20% to 70% of them at the first attempt."""
    n: int = 60
    """Held-out problems of each level."""
    paths: int = 64
    """Paths of each problem."""
    temperature: float = 1.0
    """Of the paths."""
    draws: int = 40
    """Subsets of the paths that an accuracy is averaged over."""
    votes: str = "multiplication/5x5"
    """The level on which votes per subtask are measured."""
    revisions: str = "division/3"
    """The level on which wrong first guesses are planted."""
    seed: int = 0
    """Of problems and samples."""
    batch: int = 256
    """Call stacks that are decoded together."""
    out: Path | None = None
    """The picture."""


def interval(values: npt.NDArray[np.float64], rng: np.random.Generator, samples: int = 2000) -> tuple[float, float]:
    """Returns the 95% bootstrap interval of the mean over problems."""
    means = rng.choice(values, (samples, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def ratio(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], rng: np.random.Generator, samples: int = 2000
) -> str:
    """Returns the ratio of two means over the same problems with its 95% bootstrap interval, as text."""
    picked = rng.integers(len(above), size=(samples, len(above)))

    # In a draw of the bootstrap no problem may be solved at all.
    ratios = above[picked].mean(1) / np.maximum(below[picked].mean(1), 1e-9)
    low = np.quantile(ratios, 0.025)
    high = np.quantile(ratios, 0.975)
    return f"{above.mean() / max(below.mean(), 1e-9):.1%} [{low:.1%}, {high:.1%}]"


def accuracy_of(found: Found, k: int, way: Select, options: Options) -> npt.NDArray[np.float64]:
    """Returns for each problem the chance that k of its paths lead to a right choice."""
    explored, passed = found
    rng = stream("subsets", k, way)
    out = []
    for paths, scores in zip(explored, passed, strict=True):
        drawn = [rng.permutation(len(paths))[:k] for _ in range(options.draws if k < len(paths) else 1)]
        right = [select_answer([paths[i] for i in some], way, [scores[i] for i in some]).correct for some in drawn]
        out.append(np.mean(right))
    return np.array(out)


def paths_against_tokens(solver: Solver, name: str, options: Options) -> dict[str, list[tuple[float, ...]]]:
    """Prints accuracy by number of paths and way of choosing; returns the curves."""
    problems = held_out([read_level(name)], options.n, options.seed)
    started = time.process_time()
    explored = solver.explore_all(problems, SearchOptions(options.paths, options.temperature))
    seconds = (time.process_time() - started) / len(problems) / options.paths
    started = time.process_time()
    passed = checked(solver, explored, options.batch)
    checking = (time.process_time() - started) / len(problems)
    tokens = float(np.mean([path.tokens for paths in explored for path in paths]))
    counts = [1 << i for i in range(options.paths.bit_length()) if 1 << i <= options.paths]
    rng = stream("bootstrap", options.seed)
    print(f"\n{name}: {len(problems)} problems, {tokens:.0f} tokens a path, {seconds:.3f} CPU s a path,", end=" ")
    print(f"{checking:.3f} CPU s to check a problem's answers")
    print(f"{'paths':>6}" + "".join(f"{way:>23}" for way in WAYS))
    curves: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    for k in counts:
        row = f"{k:6}"
        for way in WAYS:
            accuracy = accuracy_of((explored, passed), k, way, options)
            low, high = interval(accuracy, rng)
            curves[way].append((k * tokens, float(accuracy.mean()), low, high))
            row += f"{f'{accuracy.mean():.1%} [{low:.1%}, {high:.1%}]':>23}"
        print(row, flush=True)
    for way, curve in curves.items():
        x, y = np.log([point[0] for point in curve]), np.array([point[1] for point in curve])
        fit = np.corrcoef(x, y)[0, 1] ** 2 if y.std() else float("nan")
        print(f"  {way}: R² of accuracy with log tokens {fit:.3f}")
    curves["check, adaptive"] = [adaptive(solver, problems, (explored, passed), options)]
    return curves


def adaptive(solver: Solver, problems: Sequence[Problem], found: Found, options: Options) -> tuple[float, ...]:
    """Prints what ``--select check`` reaches, which stops early; returns tokens, accuracy and its interval.

    Args:
        solver: The model.
        problems: What it is asked.
        found: All paths, and how many checks they pass.
        options: What to measure.
    """
    answers = solver.solve_all(problems, SearchOptions(options.paths, options.temperature, "check"))
    right = np.array([float(answer.correct) for answer in answers])
    tokens = np.array([float(answer.tokens) for answer in answers])
    made = np.mean([answer.usage.paths for answer in answers])

    # Against checking the answers of all paths. The tokens of these checks are left out, those of its own are not.
    all_right = accuracy_of(found, options.paths, "check", options)
    all_tokens = np.array([float(sum(path.tokens for path in paths)) for paths in found[0]])
    rng = stream("bootstrap", options.seed)
    low, high = interval(right, rng)
    print(f"  --select check --paths {options.paths}: {right.mean():.1%} [{low:.1%}, {high:.1%}]", end=", ")
    print(f"{made:.1f} paths, {tokens.mean():.0f} tokens with those of the checks", end=", ")
    print(f"{ratio(tokens, all_tokens, rng)} of those of all paths,", end=" ")
    print(f"{ratio(right, all_right, rng)} of the accuracy of checking all of them", flush=True)
    return float(tokens.mean()), float(right.mean()), low, high


def variants(solver: Solver, name: str, options: Options) -> None:
    """Prints what votes per subtask, sharing and budgets do to single paths."""
    problems = held_out([read_level(name)], options.n, options.seed)
    rows: dict[str, tuple[float, dict[str, Any]]] = {
        "one greedy path": (0.0, {}),
        "one sampled path": (options.temperature, {}),
        "reused subtasks": (0.0, {"reuse_subtasks": True}),
        "votes of 3; subtasks reused": (0.0, {"votes": 3, "reuse_subtasks": True}),
        "votes of 5; subtasks reused": (0.0, {"votes": 5, "reuse_subtasks": True}),
    }
    print(f"\n{name}: {len(problems)} problems")
    print(f"{'':40}{'accuracy':>24}{'tokens':>9}{'CPU s':>8}{'wrong->right':>14}{'right->wrong':>14}")
    plain: dict[float, list[Answer]] = {}
    rng = stream("bootstrap", options.seed)
    for title, (temperature, settings) in rows.items():
        answers, seconds = timed(solver, problems, SearchOptions(temperature=temperature, **settings))
        before = plain.setdefault(temperature, answers)
        print(line(title, answers, before, seconds, rng), flush=True)
    limit = int(np.mean([answer.tokens for answer in plain[0.0]]))
    for share in (0.25, 0.5, 0.75, 1.0, 1.5):
        settings = {"max_tokens": int(share * limit)}
        answers, seconds = timed(solver, problems, SearchOptions(**settings))
        print(
            line(f"answer forced after {settings['max_tokens']} tokens", answers, plain[0.0], seconds, rng), flush=True
        )


def timed(solver: Solver, problems: Sequence[Problem], how: SearchOptions) -> tuple[list[Answer], float]:
    """Returns one path for each problem, and CPU seconds a problem."""
    started = time.process_time()
    found = solver.explore_all(problems, how)
    return [path for (path,) in found], (time.process_time() - started) / len(problems)


def checked(solver: Solver, explored: Sequence[Sequence[Answer]], batch: int) -> list[list[int]]:
    """Returns how many checks the answer of each path passes; equal answers to a problem are checked once."""
    claims: dict[tuple[int, str], Claim] = {}
    for index, paths in enumerate(explored):
        for path in paths:
            claim = read_claim(path.problem, path.text)
            if claim is not None:
                claims[index, path.text] = claim

    passed, _ = check_claims(Calculator(solver.network, solver.config, batch), list(claims.values()))
    scores = dict(zip(claims, passed, strict=True))
    return [[scores.get((index, path.text), 0) for path in paths] for index, paths in enumerate(explored)]


def line(
    title: str, answers: Sequence[Answer], before: Sequence[Answer], seconds: float, rng: np.random.Generator
) -> str:
    """Returns a row of the table of variants."""
    right = np.array([float(answer.correct) for answer in answers])
    low, high = interval(right, rng)
    pairs = [(old.correct, new.correct) for old, new in zip(before, answers, strict=True)]
    mended, broken = pairs.count((False, True)), pairs.count((True, False))
    tokens = np.mean([answer.tokens for answer in answers])
    figures = f"{f'{right.mean():.1%} [{low:.1%}, {high:.1%}]':>24}{tokens:9.0f}{seconds:8.2f}{mended:14}{broken:14}"
    return f"{title:40}{figures}"


def revision(solver: Solver, options: Options) -> None:
    """Prints what becomes of quotient digits whose first guess was planted."""
    problems = held_out([read_level(options.revisions)], options.n, options.seed)
    found = revise(solver, problems)
    print(f"\n{options.revisions}: the first guess of every quotient digit replaced by another one")
    for name, value in found.items():
        print(f"  {name}: {value:.1%}" if isinstance(value, float) else f"  {name}: {value}")


def draw(curves: dict[str, dict[str, list[tuple[float, ...]]]], out: Path) -> None:
    """Draws accuracy against tokens, a panel a level."""
    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 3.6), squeeze=False, layout="constrained")
    for axis, (name, ways) in zip(axes[0], curves.items(), strict=True):
        for way, curve in ways.items():
            x, y, low, high = (np.array(column) for column in zip(*curve, strict=True))
            style = "--" if way == "oracle" else "-"
            (drawn,) = axis.plot(
                x, y, style, marker="o", markersize=3, label=f"{way} (upper bound)" if way == "oracle" else way
            )
            axis.fill_between(x, low, high, color=drawn.get_color(), alpha=0.1)
        axis.set(title=name, xlabel="tokens a problem", xscale="log", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("held-out accuracy")
    axes[0][0].legend()
    figure.savefig(out, dpi=110)
    print(f"wrote {out}")


def main() -> None:
    """Runs everything."""
    options = parse(Options, __doc__)
    check_least(options, n=1, paths=1, draws=1, seed=0, batch=1)
    th.set_num_threads(1)
    for name in (*options.levels, options.votes, options.revisions):
        read_level(name)  # a mistake is found now, not after an hour
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        check_writable("--out", options.out)
    solver = Solver.load(options.model, batch=options.batch, seed=options.seed)
    curves = {name: paths_against_tokens(solver, name, options) for name in options.levels}
    variants(solver, options.votes, options)
    revision(solver, options)
    if options.out is not None:
        draw(curves, options.out)


if __name__ == "__main__":
    sys.exit(guarded("inference_scaling.py", main))
