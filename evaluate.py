"""Measures a trained model, or asks it something. ``python evaluate.py --help`` lists every flag."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from o1nano.agents.checkpoint import load
from o1nano.agents.command_line import guarded, parse
from o1nano.agents.config import check_device
from o1nano.agents.evaluation import held_out, levels, tabulate
from o1nano.agents.progress import Display
from o1nano.agents.reports import check_writable, fitting, read_problems, records, table
from o1nano.agents.transcripts import transcript
from o1nano.envs.episodes import EnvConfig
from o1nano.envs.errors import CheckpointError, ConfigurationError, O1NanoError
from o1nano.envs.pose import Problem, read
from o1nano.policies.engine import Answer, solve
from o1nano.policies.network import ReasoningNetwork


@dataclass(frozen=True)
class Options:
    """What to do with a model."""

    model: Annotated[Path | None, tyro.conf.Positional] = None
    """An o1_model.pth or the folder of a run; by default that of the newest run under runs/."""
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
    n: int = 200
    """Held-out problems of each task and size."""
    sums: int = 6
    """Largest size of sums and differences."""
    products: int = 3
    """Largest size of products and quotients."""
    seed: int = 0
    """Which held-out problems."""
    temperature: float = 0.0
    """0 is greedy."""
    batch: int = 256
    """Problems that are decoded together."""
    device: str = "cpu"
    """cpu or cuda."""
    quiet: bool = False
    """Show no progress."""

    def validate(self) -> None:
        """Raises ``ConfigurationError`` on a value that makes no sense."""
        for name, most in (("n", 10**6), ("sums", 1000), ("products", 1000), ("batch", 2**16)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigurationError(f"--{name} {getattr(self, name)}; accepted: 1 to {most}")
        if not 0 <= self.temperature <= 1000:
            raise ConfigurationError(f"--temperature {self.temperature}; accepted: 0 to 1000")
        if (self.ask is not None) + self.interactive + (self.problems is not None) > 1:
            raise ConfigurationError("several of --ask, --interactive and --problems; accepted: one of them")
        check_device(self.device)
        if self.json is not None:
            check_writable("--json", self.json)


class Session:
    """A loaded model and what to do with it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.network: ReasoningNetwork
        self.env: EnvConfig
        self.network, self.env = load(find_model(options.model), options.device)
        # Beside the answers, not among them; a single question needs none.
        asking = options.ask is not None or options.interactive
        self.display = Display(console=Console(stderr=True, quiet=options.quiet or asking, highlight=False))

    def solve(self, problems: list[Problem]) -> list[Answer]:
        """Answers problems as the options say."""
        options = self.options
        self.display.begin("solving", len(problems))
        answers = solve(
            self.network,
            problems,
            self.env,
            options.batch,
            options.temperature,
            options.seed,
            keep_frames=options.show_reasoning,
            progress=self.display.update,
        )
        self.display.end()
        return answers

    def ask(self, text: str) -> str:
        """Answers one problem; returns what is to be printed."""
        answer = self.solve([fitting(read(text), self.env.frame_length)])[0]
        if self.options.show_reasoning:
            return transcript(answer)
        usage = f"{answer.reasoning_tokens + answer.subtask_tokens} reasoning tokens, {answer.subtasks} subtasks"
        return f"{answer.text or f'no answer: {answer.outcome}'}    ({usage}, longest context {answer.longest_context})"

    def interactive(self) -> None:
        """Answers lines of standard input; a bad one gets a line that says why."""
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
                print(self.ask(text))
            except O1NanoError as error:
                print(error)

    def file(self, path: Path) -> None:
        """Answers a file of problems."""
        lines = read_problems(path, self.env.frame_length)
        for line in lines:
            if line.error:
                print(f"evaluate.py: {line.error}", file=sys.stderr)
        answers = self.solve([line.problem for line in lines if line.problem])
        found = records(lines, answers)
        for line, record in zip(lines, found["problems"], strict=True):
            print(f"{line.text}  ->  {record['answer'] or '(no answer)'}{'' if record['correct'] else '  (wrong)'}")
        if self.options.show_reasoning:
            print("\n" + "\n\n".join(map(transcript, answers)))
        summary = found["summary"]
        print(f"\n{summary['accuracy']:.1%} of {summary['n']} right, {summary['valid']} valid")
        self.write(found)

    def measure(self) -> None:
        """Measures held-out accuracy by task and size."""
        options = self.options
        answers = self.solve(held_out(levels(options.sums, options.products), options.n, options.seed))
        cells = tabulate(answers)
        print(table(cells, answers))
        if options.show_reasoning:
            print("\n" + "\n\n".join(transcript(answer) for answer in answers if not answer.correct))
        correct = sum(answer.correct for answer in answers)
        summary = {"accuracy": correct / len(answers), "valid": sum(a.outcome == "answered" for a in answers)}
        summary |= {"n": len(answers), "average_reward": correct / len(answers)}
        self.write({"summary": summary, "cells": [cell.as_dict() for cell in cells]})

    def write(self, content: dict[str, object]) -> None:
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
    """Returns the file of a model: the one that is named, in the folder that is named, or of the newest run."""
    if path is not None:
        return path / "o1_model.pth" if path.is_dir() else path
    models = sorted(Path("runs").glob("*/o1_model.pth"), key=lambda model: model.stat().st_mtime)
    if not models:
        raise CheckpointError("no model under runs/; accepted: a path, or a run of train_rl.py before")
    return models[-1]


def measure() -> int:
    """Does what the flags say; returns the exit status."""
    options = parse(Options, __doc__)
    options.validate()
    session = Session(options)
    if options.ask is not None:
        print(session.ask(options.ask))
    elif options.interactive:
        session.interactive()
    elif options.problems is not None:
        session.file(options.problems)
    else:
        session.measure()
    return 0


def main() -> int:
    """Does what the flags say; returns the exit status, 2 for a mistake in them."""
    return guarded("evaluate.py", measure)


if __name__ == "__main__":
    sys.exit(main())
