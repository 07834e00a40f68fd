"""What the reports say of answers, and of the model's own checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from o1nano.agents.evaluation.problem_files import Line, record_line, records
from o1nano.agents.evaluation.reports import checks_line, checks_note, summary, unanswered
from o1nano.envs.problems.problem import read
from o1nano.policies.search.answers import Answer

NOTE = "  (did not pass its own checks)"
RIGHT = Answer(read("98+45"), "143", True, "answered")


@pytest.mark.parametrize("passed, note", [(None, ""), (True, ""), (False, NOTE)])
def test_only_an_answer_that_failed_its_checks_has_a_note(passed: bool | None, note: str) -> None:
    answer = replace(RIGHT, passed_checks=passed)
    assert checks_note(answer) == note
    (record,) = records([Line("98+45", None, answer.problem)], [answer])["problems"]
    assert record["passed_checks"] is passed
    assert record_line(record) == f"98+45  ->  143{note}"


def test_a_wrong_answer_and_a_line_without_one_have_their_own_notes() -> None:
    wrong = replace(RIGHT, text="133", correct=False, passed_checks=False)
    lines = [Line("98+45", None, wrong.problem), Line("love", None, None, "no problem")]
    first, second = records(lines, [wrong])["problems"]
    assert record_line(first) == f"98+45  ->  133  (wrong){NOTE}"
    assert record_line(second) == "love  ->  (no answer)  (wrong)"


def test_the_summary_counts_checks() -> None:
    answers = [replace(RIGHT, passed_checks=passed) for passed in (True, True, False, None)]
    found = summary(answers)
    assert (found["checked"], found["passed_checks"]) == (3, 2)
    assert checks_line(answers) == "1 of 3 answers did not pass their own checks, 1 of these are right"
    assert checks_line([RIGHT]) == ""


def test_problems_without_an_answer_are_counted_by_their_end() -> None:
    ends = ["out_of_tokens", "illegal_token", "out_of_tokens"]
    answers = [RIGHT, *(replace(RIGHT, text="", correct=False, outcome=end) for end in ends)]
    assert unanswered(answers) == "no answer: 2 out_of_tokens, 1 illegal_token"
    assert unanswered([RIGHT]) == ""
