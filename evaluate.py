"""Measures a trained model, or asks it something. ``python evaluate.py --help`` lists all flags.

Installed, this file is the command ``o1nano-evaluate``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

# PyTorch reads it when it is imported: threads that wait for each other sleep soon. By default they spin, and stop
# making progress once another process wants the same cores.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from rich.console import Console

from o1nano.agents.evaluation import probes, problem_files, reports
from o1nano.agents.evaluation.held_out import held_out, shortfall, tabulate
from o1nano.agents.evaluation.options import Options
from o1nano.agents.evaluation.pass_at import measure_pass_at, pass_at_table
from o1nano.agents.evaluation.transcripts import tree
from o1nano.agents.run.cli import guarded, parse, program_name
from o1nano.agents.run.progress import Display
from o1nano.envs.errors import CheckpointError, ConfigurationError, O1NanoError
from o1nano.envs.problems.problem import Problem
from o1nano.policies.device import find_device
from o1nano.policies.pretrained import shipped_model
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

PROGRAM = program_name("evaluate.py", "o1nano-evaluate")
PRETRAINED = shipped_model()


def measure(options: Options) -> None:
    """Measures held-out accuracy by task and size."""
    session = Session(options)
    session.solver.make_room(options.levels)

    problems = held_out(options.levels, options.problems_per_level, options.seed, options.phrasing)
    answers = session.solve(problems)

    cells = tabulate(answers)
    print(reports.table(cells, answers))
    counts = {cell.name: cell.n for cell in cells}
    for note in (shortfall(counts, options.problems_per_level), reports.unanswered(answers)):
        if note:
            print(note)
    session.print_notes(answers)
    if options.show_reasoning:
        session.show(answer for answer in answers if not answer.correct)
    session.write({"summary": reports.summary(answers), "cells": [cell.as_dict() for cell in cells]})


def answer_file(options: Options, path: Path) -> None:
    """Answers a file of problems. A line that cannot be answered is named on standard error."""
    session = Session(options)
    lines = problem_files.read_problems(path, session.solver.config.frame_length)
    for line in lines:
        if line.error:
            print(f"{PROGRAM}: line {line.number}: {line.error}", file=sys.stderr)

    answers = session.solve([line.problem for line in lines if line.problem])

    found = problem_files.records(lines, answers)
    for record in found["problems"]:
        print(problem_files.record_line(record))
    if options.show_reasoning:
        session.show(answers)
    summary = found["summary"]
    print(f"\n{summary['accuracy']:.1%} of {summary['n']} right, {summary['valid']} valid")
    session.print_notes(answers)
    session.write(found)


def ask_interactively(options: Options) -> None:
    """Answers lines of standard input. A line that is no problem gets an explanation.

    Raises:
        ConfigurationError: If standard input is closed.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise ConfigurationError("--interactive with a closed standard input; expected a terminal or a pipe")
    session = Session(options)
    print('Ask something like "What is 98 plus 45?"; an empty line or end of file ends.')
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not text.strip():
            return
        try:
            session.ask(text)
        except O1NanoError as error:
            print(error)


def probe(options: Options) -> None:
    """Measures held-out accuracy with changed hidden tokens, by task and size."""
    session = Session(options)
    session.solver.make_room(options.levels)
    session.name_model()
    found = {}
    for level in options.levels:
        problems = held_out([level], options.problems_per_level, options.seed, options.phrasing)
        found[str(level)] = probes.probe(session.solver, problems)

    print(f"{'hidden tokens are':20}" + "".join(f"{name:>10}" for name in probes.PROBES))
    for name, shares in found.items():
        print(f"{name:20}" + "".join(f"{share:10.1%}" for share in shares.values()))
    reports.write_report(options.json, {"probe": found})


def measure_samples(options: Options) -> None:
    """Measures pass@k on held-out problems, by task and size."""
    session = Session(options)
    session.solver.make_room(options.levels)
    problems = held_out(options.levels, options.problems_per_level, options.seed, options.phrasing)

    ks = sorted(set(options.pass_at))
    # One sample is sampled too, unlike one path.
    temperature = 1.0 if options.search.temperature is None else options.search.temperature
    search = SearchOptions(paths=ks[-1], temperature=temperature)
    rows = measure_pass_at(session.explore(problems, search), ks)

    print(pass_at_table(rows))
    counts = {row.name: row.n for row in rows}
    if note := shortfall(counts, options.problems_per_level):
        print(note)
    content = {"pass_at": [row.as_dict() for row in rows], "search": asdict(search)}
    reports.write_report(options.json, content)


def serve(options: Options) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        ConfigurationError: If the packages of the extra are missing.
    """
    # Only this mode needs them, and they are optional.
    try:
        from o1nano.playground.server import serve as serve_page
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in ("starlette", "uvicorn"):
            raise
        raise ConfigurationError(
            f"--serve without the package {package}; expected: pip install starlette uvicorn (the extra demo)"
        ) from error
    session = Session(options)

    def say(address: str) -> None:
        print(f"{address}    (Ctrl-C ends)", flush=True)

    serve_page(session.solver, session.path, Path("runs"), options.port, say)


class Session:
    """A loaded model, and how its answers are shown.

    Args:
        options: The flags.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.console = Console(highlight=False)
        self.path = path = find_model(options.model)
        self.solver = Solver.load(path, find_device(options.device), options.batch, options.seed)
        self.unnamed = path if options.model is None and not options.quiet else None

        # Progress is not part of the output. It disappears if someone waits for one answer.
        stderr = Console(stderr=True, quiet=options.quiet, highlight=False)
        self.display = Display(console=stderr, transient=options.is_asking)

    def name_model(self) -> None:
        """Names the model the first time, unless the flags do."""
        if self.unnamed is not None:
            print(f"{PROGRAM}: the model is {self.unnamed}", file=sys.stderr)
            self.unnamed = None

    def solve(self, problems: list[Problem]) -> list[Answer]:
        """Answers problems as the flags say."""
        self.name_model()
        for kind in self.solver.unlearned(problems):
            print(f"{PROGRAM}: the model has not learned problems of this kind: {kind}", file=sys.stderr)

        search = self.options.search
        self.display.begin("solving", len(problems) * search.paths)
        answers = self.solver.solve_all(problems, search, self.options.show_reasoning, self.display.update)
        self.display.end()
        return answers

    def explore(self, problems: list[Problem], search: SearchOptions) -> list[list[Answer]]:
        """Returns all attempts at each problem."""
        self.name_model()
        self.display.begin("sampling", len(problems) * search.paths)
        explored = self.solver.explore_all(problems, search, self.display.update)
        self.display.end()
        return explored

    def ask(self, text: str) -> None:
        """Answers one problem."""
        (answer,) = self.solve([self.solver.read(text)])
        note = reports.checks_note(answer)
        if self.options.show_reasoning:
            self.show([answer])
            print(f"{reports.usage_line(answer)}{note}")
        else:
            said = answer.text or f"no answer: {answer.outcome}"
            print(f"{said}{note}    ({reports.usage_line(answer)})")

    def show(self, answers: Iterable[Answer]) -> None:
        """Draws the frames of answers, hidden reasoning included; in a terminal every channel has its colour."""
        for answer in answers:
            self.console.print(tree(answer), soft_wrap=True)

    def print_notes(self, answers: list[Answer]) -> None:
        """Prints what a reader of the figures must know about the way answers were selected."""
        if self.options.search.select == "oracle":
            print("selected by the oracle, which looks at the solutions: an upper bound")
        if checks := reports.checks_line(answers):
            print(checks)

    def write(self, content: dict[str, Any]) -> None:
        """Writes JSON, if the flags ask for it."""
        reports.write_report(self.options.json, {**content, "search": asdict(self.options.search)})


def find_model(path: Path | None) -> Path:
    """Returns the file or the folder of a model: the given one, the newest run's, or the shipped one.

    Raises:
        CheckpointError: If there is no model.
    """
    if path is not None:
        return path
    models = sorted(Path("runs").glob("*/o1_model.pth"), key=lambda model: model.stat().st_mtime)
    if models:
        return models[-1]
    if not PRETRAINED.is_file():
        raise CheckpointError("no model in runs/; expected the path of one, or a training to have run here")
    return PRETRAINED


def evaluate() -> None:
    """Does what the flags say."""
    options = parse(Options, __doc__)
    options.validate()
    if options.ask is not None:
        Session(options).ask(options.ask)
    elif options.interactive:
        ask_interactively(options)
    elif options.serve:
        serve(options)
    elif options.problems is not None:
        answer_file(options, options.problems)
    elif options.probe:
        probe(options)
    elif options.pass_at:
        measure_samples(options)
    else:
        measure(options)


def main() -> int:
    """Runs the program; returns the exit status, 2 for a mistake in the flags."""
    return guarded(PROGRAM, evaluate)


if __name__ == "__main__":
    sys.exit(main())
