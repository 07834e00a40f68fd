"""Problem files in, tables and JSON out: what ``evaluate.py`` reads and writes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from o1nano.agents.evaluation.held_out import Cell, summarise, wilson
from o1nano.envs.errors import ConfigurationError, O1NanoError, ProblemError
from o1nano.envs.problems.problem import Problem, fits_frame, read
from o1nano.policies.search.answers import Answer


@dataclass(frozen=True)
class Line:
    """One line of a problem file.

    Attributes:
        text: The problem as it was written.
        expected: The answer that was given with it, if there was one.
        problem: What it says, or None if it cannot be read.
        error: Why not.
        number: Of the line in its file, from 1.
    """

    text: str
    expected: str | None
    problem: Problem | None
    error: str = ""
    number: int = 0


def read_problems(path: Path, frame_length: int) -> list[Line]:
    """Reads ``{"problem": ..., "answer": ...}`` lines (answer optional) or plain text, one problem a line.

    A line that is no problem, has no room in a frame, or has a wrong answer, becomes a ``Line`` with an error; all
    others are answered.

    Args:
        path: The file.
        frame_length: The model's longest frame.

    Raises:
        ProblemError: If the file cannot be read at all, or no line of it is a problem.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")  # Windows writes a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ProblemError(f"cannot read {str(path)!r} ({reason}); accepted: a file of one problem a line") from error
    lines = [
        replace(_read_line(line.strip(), frame_length), number=number)
        for number, line in enumerate(content.split("\n"), start=1)  # str.splitlines also cuts inside JSON strings
        if line.strip()
    ]
    if not any(line.problem for line in lines):
        why = f" (line {lines[0].number}: {lines[0].error})" if lines else ""
        raise ProblemError(f"no problem in {str(path)!r}{why}; accepted: one problem a line, as text or JSON")
    return lines


def _read_line(line: str, frame_length: int) -> Line:
    text, expected = line, None
    if line.startswith("{"):
        try:
            record = json.loads(line)
            text, expected = record["problem"], record.get("answer")
            if not isinstance(text, str):
                raise TypeError(f"problem is {text!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            accepted = '{"problem": "98+45", "answer": "143"}'
            return Line(line, None, None, f"{line[:60]!r} is no record ({error!s:.60}); accepted: {accepted}")
        expected = None if expected in (None, "") else str(expected)
    try:
        problem = fits_frame(read(text), frame_length)
        if expected is not None:
            check_answer(problem, expected)
        return Line(text, expected, problem)
    except O1NanoError as error:
        return Line(text, expected, None, str(error))


def check_answer(problem: Problem, given: str) -> None:
    """Raises ``ProblemError`` unless the answer that a file gives is right; a remainder of 0 may be written or not.

    Args:
        problem: What is asked.
        given: The answer, as text.
    """
    quotient = re.sub(r"\s*R\s*0\s*$", "", given)
    if not problem.accepts(given) and not problem.accepts(quotient):
        raise ProblemError(
            f"the given answer {given[:40]!r} to {problem.text[:80]!r} is wrong; expected {problem.answer_text[:80]!r}"
        )


def check_writable(flag: str, path: Path) -> None:
    """Raises ``ConfigurationError`` if a file cannot be written, before anything is computed for it."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigurationError(f"{flag} {path}; accepted: a file in a folder that can be written")


def records(lines: Sequence[Line], answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns what ``--json`` writes: a summary, and one record a line.

    The environment's verifier decides whether an answer is correct: a problem can have several right answers, of which
    the file gives one.
    """
    waiting = iter(answers)
    problems = [_record(line, next(waiting) if line.problem else None) for line in lines]
    correct = sum(record["correct"] for record in problems)
    low, high = wilson(correct, len(problems))
    return {
        "summary": {
            "accuracy": correct / len(problems),
            "low": low,
            "high": high,
            "valid": sum(record["answer"] is not None for record in problems),
            "n": len(problems),
            "average_reward": correct / len(problems),
        },
        "problems": problems,
    }


def _record(line: Line, answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"problem": line.text, "answer": None, "expected": line.expected, "correct": False, "error": line.error}
    return {
        "problem": line.text,
        "answer": answer.text or None,
        "expected": answer.problem.answer_text if line.expected is None else line.expected,
        "correct": answer.correct,
        "outcome": answer.outcome,
        **asdict(answer.usage),
        "hidden_tokens": answer.usage.hidden_tokens,
    }


def usage_line(answer: Answer) -> str:
    """Returns what an answer cost, as one line."""
    usage = answer.usage
    parts = [f"{usage.hidden_tokens} reasoning tokens", f"{usage.completion_tokens} completion tokens"]
    counts = (
        (usage.subtasks, "subtask", "subtasks"),
        (usage.reused_subtasks, "reused subtask", "reused subtasks"),
        (usage.revisions, "revision", "revisions"),
    )
    for count, one, several in counts:
        if count:
            parts.append(f"{count} {one if count == 1 else several}")
    parts.append(f"depth {usage.depth}")
    parts.append(f"longest context {usage.longest_context}")
    if usage.paths > 1:
        parts.append(f"{usage.paths} paths")
    parts.append(f"{answer.seconds:.2f} s")
    return ", ".join(parts)


def table(cells: Sequence[Cell], answers: Sequence[Answer]) -> str:
    """Returns the accuracy table as text."""
    rows = [
        f"{'task/size':20} {'accuracy':>9}   {'95% interval':18} {'reward':>6} {'valid':>9} {'tokens':>7} {'hidden':>7}"
    ]
    for cell in [*cells, summarise("all", answers)]:
        low, high = cell.interval
        rows.append(
            f"{cell.name:20} {cell.accuracy:9.1%}   {f'{low:.1%} to {high:.1%}':18} {cell.accuracy:6.3f} "
            f"{f'{cell.valid}/{cell.n}':>9} {cell.tokens:7.1f} {cell.hidden_tokens:7.1f}"
        )
    return "\n".join(rows)


def comparison(before: Sequence[Cell], after: Sequence[Cell], averages: Mapping[str, float]) -> str:
    """Returns what PPO has changed as a table, above the averages over the demonstrated sizes before and after it."""
    rows = [
        f"{'held out, greedy':20} {'n':>6} {'before PPO':>10} {'after PPO':>10}   95% interval   calls before, after"
    ]
    for old, new in zip(before, after, strict=True):
        low, high = new.interval
        calls = f"{old.subtasks:8.1f} {new.subtasks:8.1f}"
        rows.append(
            f"{new.name:20} {new.n:6} {old.accuracy:10.1%} {new.accuracy:10.1%}   {low:.1%} to {high:.1%} {calls}"
        )
    both = " ".join(f"{averages[name]:10.1%}" for name in ("average_before", "average_after"))
    return "\n".join([*rows, f"{'demonstrated sizes':27} {both}"])
