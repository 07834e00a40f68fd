"""The shipped model answers the lines that people type. It needs a model file with a record of its training."""

from __future__ import annotations

from pathlib import Path

import pytest

import evaluate
from o1nano.policies.search.solver import Solver
from tests.helpers.corpus import read_corpus

CORPUS = Path(__file__).parents[1] / "envs" / "language" / "everyday.txt"


# Forms that no demonstration has, as the model card says. A better model makes this list shorter.
KNOWN_WRONG = {
    "2 * 7^2",
    "100/5^2",
    "12,000 / 1,000",
    "which is larger, 1,234 or 999?",
    "multiply 2+3 by 4",
    "-(2+3)",
    "3*-(2+3)",
    "0-7^2",
    "-(-5)+3",
    "-(4-7)*3+2",
    "100 mod 7",
    "what is 100 modulo 7?",
    "what's 100 mod 7",
    "-46 mod 7",
    "x+4=19",
    "x - 4 = 19",
    "make 5 from 2, 2",
}


@pytest.mark.slow
def test_the_shipped_model_answers_what_people_type() -> None:
    solver = Solver.load(evaluate.PRETRAINED)
    assert solver.record is not None
    lines = [line for line in read_corpus(CORPUS) if line.answer is not None]
    problems = [solver.read(line.text) for line in lines]
    answers = solver.solve_all(problems)
    wrong = {line.text for line, answer in zip(lines, answers, strict=True) if not answer.correct}
    assert wrong == KNOWN_WRONG
