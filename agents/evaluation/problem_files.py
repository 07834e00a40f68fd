"""Files of problems: what ``evaluate.py --problems`` reads, and the records of its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from o1nano.agents.evaluation.held_out import wilson
from o1nano.agents.evaluation.reports import FAILED_CHECKS, check_counts
from o1nano.envs.errors import O1NanoError, ProblemError
from o1nano.envs.problems.problem import Problem, fits_frame, read
from o1nano.policies.search.answers import Answer


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
        # json raises a RecursionError for brackets that are nested too deeply.
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            example = '{"problem": "98+45", "answer": "143"}'
            return Line(line, None, None, f"{line[:60]!r} is not a record ({error!s:.60}); expected {example}")
        # An empty answer does not count as an answer.
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
    correct = 0
    valid = 0
    for record in problems:
        correct += record["correct"]
        valid += record["answer"] is not None
    low, high = wilson(correct, len(problems))
    figures = {
        "accuracy": correct / len(problems),
        "low": low,
        "high": high,
        "valid": valid,
        "n": len(problems),
        "average_reward": correct / len(problems),
        **check_counts(answers),
    }
    return {"summary": figures, "problems": problems}


def _record(line: Line, answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"problem": line.text, "answer": None, "expected": line.expected, "correct": False, "error": line.error}

    # Where the file gives an answer it is quoted as it stands there, even if another form is usual.
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
        line += FAILED_CHECKS
    return line
