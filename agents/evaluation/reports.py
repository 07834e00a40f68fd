"""Tables, notes and JSON: the output of ``evaluate.py`` and of a run."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from o1nano.agents.evaluation.held_out import Cell, summarise
from o1nano.envs.errors import ConfigurationError
from o1nano.policies.search.answers import Answer

FAILED_CHECKS = "  (did not pass its own checks)"


def check_writable(flag: str, path: Path) -> None:
    """Checks that a file can be written, before anything is computed for it.

    Args:
        flag: The flag that names the file, for the error.
        path: The file.

    Raises:
        ConfigurationError: If it cannot be written.
    """
    # A file that exists is overwritten; a new one needs a folder that takes it.
    folder = path.parent
    target = path if path.exists() else folder
    if path.is_dir() or not folder.is_dir() or not os.access(target, os.W_OK):
        raise ConfigurationError(f"{flag} {path}; expected a file in a folder that can be written")


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns the figures over all answers of a measurement, for JSON."""
    cell = summarise("all", answers)
    return {
        "accuracy": cell.accuracy,
        "valid": cell.valid,
        "n": cell.n,
        "average_reward": cell.accuracy,
        **check_counts(answers),
    }


def check_counts(answers: Sequence[Answer]) -> dict[str, int]:
    """Returns how many answers the model has checked, and how many of these passed."""
    # True, False, or None for an answer that was not checked.
    verdicts = Counter(answer.passed_checks for answer in answers)
    return {"checked": verdicts[True] + verdicts[False], "passed_checks": verdicts[True]}


def checks_note(answer: Answer) -> str:
    """Returns a note to print after an answer that did not pass the model's own checks; otherwise nothing."""
    return FAILED_CHECKS if answer.passed_checks is False else ""


def checks_line(answers: Sequence[Answer]) -> str:
    """Returns how many answers did not pass the model's own checks, as one line; empty if none was checked."""
    checked = check_counts(answers)["checked"]
    if not checked:
        return ""

    # A check can fail through a mistake of its own: some of these answers are right.
    failed = 0
    right = 0
    for answer in answers:
        if answer.passed_checks is False:
            failed += 1
            right += answer.correct
    return f"{failed} of {checked} answers did not pass their own checks, {right} of these are right"


def unanswered(answers: Sequence[Answer]) -> str:
    """Returns how the problems without an answer ended, as one line; empty if there are none."""
    outcomes = Counter(answer.outcome for answer in answers)
    del outcomes["answered"]
    if not outcomes:
        return ""

    # The most frequent one first: it says what to change.
    counts = [f"{count} {outcome}" for outcome, count in outcomes.most_common()]
    return "no answer: " + ", ".join(counts)


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

        # The columns are those of the heading, with the same widths.
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
