"""Problem files, tables and JSON: the input and output of ``evaluate.py``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from o1nano.agents.evaluation.held_out import Cell, summarise, wilson
from o1nano.envs.errors import ConfigurationError, O1NanoError, ProblemError
from o1nano.envs.problems.problem import Problem, fits_frame, read
from o1nano.policies.search.answers import Answer

_FAILED_CHECKS = "  (did not pass its own checks)"


@dataclass(frozen=True)
class Line:
    """One line of a problem file.

    Attributes:
        text: The problem as the file has it.
        expected: The answer that the file gives, if any.
        problem: The problem; None if the line cannot be read.
        error: Why it cannot be read.
        number: Number of the line in the file, from 1.
    """

    text: str
    expected: str | None
    problem: Problem | None
    error: str = ""
    number: int = 0


def read_problems(path: Path, frame_length: int) -> list[Line]:
    """Reads ``{"problem": ..., "answer": ...}`` lines (answer optional) or plain text, one problem a line.

    A line that is not a problem, does not fit in a frame, or gives a wrong answer becomes a ``Line`` with an error.

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
        raise ProblemError(f"cannot read {str(path)!r} ({reason}); expected a file of one problem a line") from error

    lines = []
    # str.splitlines also cuts at separators that JSON strings may hold.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            lines.append(replace(_read_line(line.strip(), frame_length), number=number))

    if not any(line.problem for line in lines):
        why = f" (line {lines[0].number}: {lines[0].error})" if lines else ""
        raise ProblemError(f"no problem in {str(path)!r}{why}; expected one problem a line, as text or JSON")
    return lines


def _read_line(line: str, frame_length: int) -> Line:
    text = line
    expected = None
    if line.startswith("{"):
        try:
            record = json.loads(line)
            text = record["problem"]
            expected = record.get("answer")
            if not isinstance(text, str):
                raise TypeError(f"problem is {text!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            example = '{"problem": "98+45", "answer": "143"}'
            return Line(line, None, None, f"{line[:60]!r} is not a record ({error!s:.60}); expected {example}")
        # An empty answer is none.
        expected = None if expected in (None, "") else str(expected)

    try:
        problem = fits_frame(read(text), frame_length)
        if expected is not None:
            check_answer(problem, expected)
        return Line(text, expected, problem)
    except O1NanoError as error:
        return Line(text, expected, None, str(error))


def check_answer(problem: Problem, given: str) -> None:
    """Checks the answer that a file gives.

    Args:
        problem: The problem.
        given: The answer, as text.

    Raises:
        ProblemError: If the answer is wrong.
    """
    # A remainder of 0 may be written or not.
    quotient = re.sub(r"\s*R\s*0\s*$", "", given)
    if not problem.accepts(given) and not problem.accepts(quotient):
        raise ProblemError(
            f"the given answer {given[:40]!r} to {problem.text[:80]!r} is wrong; expected {problem.answer_text[:80]!r}"
        )


def check_writable(flag: str, path: Path) -> None:
    """Checks that a file can be written, before anything is computed for it.

    Args:
        flag: The flag that names the file, for the error.
        path: The file.

    Raises:
        ConfigurationError: If it cannot be written.
    """
    folder = path.parent
    target = path if path.exists() else folder
    if path.is_dir() or not folder.is_dir() or not os.access(target, os.W_OK):
        raise ConfigurationError(f"{flag} {path}; expected a file in a folder that can be written")


def records(lines: Sequence[Line], answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns a summary and one record for each line, for JSON.

    The environment's verifier decides whether an answer is correct. A problem can have several right answers, of which
    the file gives one.

    Args:
        lines: The file, as ``read_problems`` returns it.
        answers: The answers to the lines that have a problem, in their order.
    """
    problems = []
    waiting = iter(answers)
    for line in lines:
        answer = next(waiting) if line.problem else None
        problems.append(_record(line, answer))

    # A line that cannot be answered counts as wrong.
    correct = sum(record["correct"] for record in problems)
    low, high = wilson(correct, len(problems))
    figures = {
        "accuracy": correct / len(problems),
        "low": low,
        "high": high,
        "valid": sum(record["answer"] is not None for record in problems),
        "n": len(problems),
        "average_reward": correct / len(problems),
        **_check_counts(answers),
    }
    return {"summary": figures, "problems": problems}


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns the figures over all answers of a measurement, for JSON."""
    correct = sum(answer.correct for answer in answers)
    return {
        "accuracy": correct / len(answers),
        "valid": sum(answer.outcome == "answered" for answer in answers),
        "n": len(answers),
        "average_reward": correct / len(answers),
        **_check_counts(answers),
    }


def _check_counts(answers: Sequence[Answer]) -> dict[str, int]:
    return {
        "checked": sum(answer.passed_checks is not None for answer in answers),
        "passed_checks": sum(answer.passed_checks is True for answer in answers),
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
        "passed_checks": answer.passed_checks,
        **asdict(answer.usage),
        "hidden_tokens": answer.usage.hidden_tokens,
    }


def record_line(record: Mapping[str, Any]) -> str:
    """Returns one record of ``records`` as a line of text."""
    line = f"{record['problem']}  ->  {record['answer'] or '(no answer)'}"
    if not record["correct"]:
        line += "  (wrong)"
    if record.get("passed_checks") is False:
        line += _FAILED_CHECKS
    return line


def checks_note(answer: Answer) -> str:
    """Returns a note to print after an answer that did not pass the model's own checks; otherwise nothing."""
    return _FAILED_CHECKS if answer.passed_checks is False else ""


def checks_line(answers: Sequence[Answer]) -> str:
    """Returns how many answers did not pass the model's own checks, as one line; empty if none was checked."""
    counts = _check_counts(answers)
    if not counts["checked"]:
        return ""
    failed = [answer for answer in answers if answer.passed_checks is False]
    right = sum(answer.correct for answer in failed)
    return f"{len(failed)} of {counts['checked']} answers did not pass their own checks, {right} of these are right"


def unanswered(answers: Sequence[Answer]) -> str:
    """Returns how the problems without an answer ended, as one line; empty if there are none."""
    outcomes = Counter(answer.outcome for answer in answers if answer.outcome != "answered")
    if not outcomes:
        return ""
    return "no answer: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())


def write_report(path: Path | None, content: Mapping[str, Any]) -> None:
    """Writes JSON where ``--json`` says.

    Args:
        path: The file; None writes nothing.
        content: Plain values.

    Raises:
        ConfigurationError: If the file cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ConfigurationError(f"--json {path}: {error.strerror}; expected a file that can be written") from error


def usage_line(answer: Answer) -> str:
    """Returns the cost of an answer as one line."""
    usage = answer.usage
    parts = [f"{usage.hidden_tokens} reasoning tokens", f"{usage.completion_tokens} completion tokens"]

    # These are named only if there are any.
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
    """Returns the accuracy table as text.

    Args:
        cells: A row each.
        answers: All answers, for the last row.
    """
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
    """Returns what PPO has changed as a table.

    Args:
        before: Results before PPO, a row each.
        after: Results after PPO, in the same order.
        averages: ``"average_before"`` and ``"average_after"`` over the demonstrated sizes, for the last row.
    """
    rows = [
        f"{'held out, greedy':20} {'n':>6} {'before PPO':>10} {'after PPO':>10}   95% interval   calls before, after"
    ]
    for old, new in zip(before, after, strict=True):
        low, high = new.interval
        calls = f"{old.subtasks:8.1f} {new.subtasks:8.1f}"
        rows.append(
            f"{new.name:20} {new.n:6} {old.accuracy:10.1%} {new.accuracy:10.1%}   {low:.1%} to {high:.1%} {calls}"
        )

    both = f"{averages['average_before']:10.1%} {averages['average_after']:10.1%}"
    return "\n".join([*rows, f"{'demonstrated sizes':27} {both}"])
