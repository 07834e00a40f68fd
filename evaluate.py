"""Measures a trained model, or asks it something. ``python evaluate.py --help`` lists every flag."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

# Before PyTorch is imported: threads that wait for each other soon sleep. Those that spin, as by default, stand still
# once another process wants the same processors (dev/LOG.md, "Threads that spin").
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import tyro
from rich.console import Console

from o1nano.agents.evaluation.held_out import held_out, levels, shortfall, tabulate
from o1nano.agents.evaluation.probes import probe
from o1nano.agents.evaluation.reports import check_writable, read_problems, records, table, usage_line
from o1nano.agents.evaluation.transcripts import tree
from o1nano.agents.run.cli import guarded, parse
from o1nano.agents.run.progress import Display
from o1nano.envs.errors import CheckpointError, ConfigurationError, O1NanoError
from o1nano.envs.problems.problem import Level, Problem, read_level
from o1nano.envs.ranges import Range, check_ranges
from o1nano.policies.device import find_device
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.options import SearchOptions
from o1nano.policies.search.solver import Solver

PRETRAINED = Path(__file__).resolve().parent / "pretrained" / "o1_model.pth"


@dataclass(frozen=True)
class Options:
    """What to do with a model."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run; by default the newest under runs/, or else the shipped model."""
    ask: str | None = None
    """Answer one problem, such as "Calculate the sum of 98 and 45"."""
    interactive: bool = False
    """Answer one problem after the other, until end of file."""
    problems: Path | None = None
    """Answer a file: JSON lines {"problem": ..., "answer": ...}, or plain text with one problem a line."""
    json: Path | None = None
    """Write what was found as JSON."""
    show_reasoning: bool = False
    """Show the hidden reasoning too, as a tree of frames."""
    problems_per_level: Annotated[int, Range(1, 10**6)] = 200
    """Held-out problems of each task and size, none twice; all of them, where there are fewer."""
    sum_digits: Annotated[int, Range(1, 1000)] = 6
    """Largest size of sums and differences."""
    product_digits: Annotated[int, Range(1, 1000)] = 3
    """Largest size of products and quotients."""
    extra_levels: tuple[str, ...] = ()
    """Other levels, as expression/1x3: FAMILY/SIZE or FAMILY/SIZExOTHER."""
    seed: int = 0
    """Which held-out problems, and which samples."""
    search: tyro.conf.OmitArgPrefixes[SearchOptions] = field(default_factory=SearchOptions)
    probe: bool = False
    """Does it reason? Tamper with the hidden tokens of held-out problems, and see what becomes of the answers."""
    batch: Annotated[int, Range(1, 2**16)] = 256
    """Call stacks that are decoded together."""
    device: str = "cpu"
    """cpu, cuda or auto."""
    quiet: bool = False
    """Show no progress."""

    @property
    def levels(self) -> list[Level]:
        """What is measured."""
        cells = levels(self.sum_digits, self.product_digits) + [read_level(name) for name in self.extra_levels]
        return list(dict.fromkeys(cells))

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        check_ranges(self)
        _ = self.levels
        self.search.validate()
        if (self.ask is not None) + self.interactive + (self.problems is not None) + self.probe > 1:
            raise ConfigurationError("several of --ask, --interactive, --problems and --probe; accepted: one of them")
        if self.json is not None and (self.ask is not None or self.interactive):
            raise ConfigurationError("--json with --ask or --interactive; accepted: with --problems, or a measurement")
        if self.search.select == "oracle" and (self.ask is not None or self.interactive):
            raise ConfigurationError(
                "--select oracle, which looks at the solution, with --ask or --interactive; accepted: another way"
            )
        if self.probe and (self.search != SearchOptions() or self.show_reasoning):
            raise ConfigurationError("--probe with flags of a search or --show-reasoning; accepted: one greedy path")
        find_device(self.device)
        if self.json is not None:
            check_writable("--json", self.json)
            for given in (self.problems, self.model):
                if given is not None and self.json.exists() and given.exists() and self.json.samefile(given):
                    raise ConfigurationError(f"--json {self.json}, which is read too; accepted: another file")


class Session:
    """A loaded model and what to do with it."""

    def __init__(self, options: Options) -> None:
        self.options, self.console = options, Console(highlight=False)
        path = find_model(options.model)
        self.solver = Solver.load(path, find_device(options.device), options.batch, options.seed)
        self.unnamed = path if options.model is None and not options.quiet else None
        # Beside the answers, not among them; nothing of it stays where somebody waits for one answer.
        asking = options.ask is not None or options.interactive
        console = Console(stderr=True, quiet=options.quiet, highlight=False)
        self.display = Display(console=console, transient=asking)

    def solve(self, problems: list[Problem]) -> list[Answer]:
        """Answers problems as the options say; before the first, names a model that was not named."""
        if self.unnamed is not None:
            print(f"evaluate.py: the model is {self.unnamed}", file=sys.stderr)
            self.unnamed = None
        for kind in self.solver.unlearned(problems):
            print(f"evaluate.py: the model was never shown a problem of this kind: {kind}", file=sys.stderr)
        how = self.options.search
        self.display.begin("solving", len(problems) * how.paths)
        answers = self.solver.solve_all(problems, how, self.options.show_reasoning, self.display.update)
        self.display.end()
        return answers

    def ask(self, text: str) -> None:
        """Answers one problem."""
        answer = self.solve([self.solver.read(text)])[0]
        if self.options.show_reasoning:
            self.show([answer])
            print(usage_line(answer))
        else:
            print(f"{answer.text or f'no answer: {answer.outcome}'}    ({usage_line(answer)})")

    def show(self, answers: Iterable[Answer]) -> None:
        """Draws the frames of answers, hidden reasoning included; in a terminal every channel has its colour."""
        for answer in answers:
            self.console.print(tree(answer), soft_wrap=True)

    def interactive(self) -> None:
        """Answers lines of standard input; a bad one gets a line that says why.

        Raises:
            ConfigurationError: If standard input is closed.
        """
        if sys.stdin is None or sys.stdin.closed:
            raise ConfigurationError("--interactive with a closed standard input; expected a terminal or a pipe")
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
                self.ask(text)
            except O1NanoError as error:
                print(error)

    def file(self, path: Path) -> None:
        """Answers a file of problems."""
        lines = read_problems(path, self.solver.config.frame_length)
        for line in lines:
            if line.error:
                print(f"evaluate.py: line {line.number}: {line.error}", file=sys.stderr)
        answers = self.solve([line.problem for line in lines if line.problem])
        found = records(lines, answers)
        for line, record in zip(lines, found["problems"], strict=True):
            print(f"{line.text}  ->  {record['answer'] or '(no answer)'}{'' if record['correct'] else '  (wrong)'}")
        if self.options.show_reasoning:
            self.show(answers)
        summary = found["summary"]
        print(f"\n{summary['accuracy']:.1%} of {summary['n']} right, {summary['valid']} valid")
        self.warn()
        self.write({**found, "search": asdict(self.options.search)})

    def measure(self) -> None:
        """Measures held-out accuracy by task and size."""
        options = self.options
        self.solver.make_room(options.levels)
        answers = self.solve(held_out(options.levels, options.problems_per_level, options.seed))
        cells = tabulate(answers)
        print(table(cells, answers))
        if few := shortfall(cells, options.problems_per_level):
            print(few)
        if unanswered := Counter(answer.outcome for answer in answers if answer.outcome != "answered"):
            print("no answer: " + ", ".join(f"{count} {outcome}" for outcome, count in unanswered.most_common()))
        self.warn()
        if options.show_reasoning:
            self.show(answer for answer in answers if not answer.correct)
        correct = sum(answer.correct for answer in answers)
        summary = {"accuracy": correct / len(answers), "valid": sum(a.outcome == "answered" for a in answers)}
        summary |= {"n": len(answers), "average_reward": correct / len(answers)}
        self.write({"summary": summary, "search": asdict(options.search), "cells": [cell.as_dict() for cell in cells]})

    def warn(self) -> None:
        """Says so where answers are not the model's own choice."""
        if self.options.search.select == "oracle":
            print("chosen by the oracle, which looks at the solutions: an upper bound")

    def tamper(self) -> None:
        """Measures what tampering with the hidden tokens does to held-out accuracy, by task and size."""
        options = self.options
        self.solver.make_room(options.levels)
        found = {}
        for level in options.levels:
            found[str(level)] = probe(self.solver, held_out([level], options.problems_per_level, options.seed))
        names = list(next(iter(found.values())))
        print(f"{'hidden tokens are':20}" + "".join(f"{name:>10}" for name in names))
        for cell, shares in found.items():
            print(f"{cell:20}" + "".join(f"{shares[name]:10.1%}" for name in names))
        self.write({"probe": found})

    def write(self, content: dict[str, Any]) -> None:
        """Writes JSON, if it was asked for."""
        if self.options.json is None:
            return
        try:
            self.options.json.write_text(json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise ConfigurationError(
                f"--json {self.options.json}: {error.strerror}; accepted: a writable file"
            ) from error


def find_model(path: Path | None) -> Path:
    """Returns where a model is: the file or the folder that is named, the newest run's file, or ours."""
    if path is not None:
        return path
    models = sorted(Path("runs").glob("*/o1_model.pth"), key=lambda model: model.stat().st_mtime)
    if not models and not PRETRAINED.is_file():
        raise CheckpointError("no model under runs/; accepted: a path, or a run of train_rl.py before")
    return models[-1] if models else PRETRAINED


def measure() -> int:
    """Does what the flags say; returns the exit status."""
    options = parse(Options, __doc__)
    options.validate()
    session = Session(options)
    if options.ask is not None:
        session.ask(options.ask)
    elif options.interactive:
        session.interactive()
    elif options.problems is not None:
        session.file(options.problems)
    elif options.probe:
        session.tamper()
    else:
        session.measure()
    return 0


def main() -> int:
    """Does what the flags say; returns the exit status, 2 for a mistake in them."""
    return guarded("evaluate.py", measure)


if __name__ == "__main__":
    sys.exit(main())
