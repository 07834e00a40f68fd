"""The shipped model answers the lines that people type. It needs a model file with a record of its training."""

from __future__ import annotations

from pathlib import Path

import pytest

import evaluate
from o1nano.policies.search.solver import Solver
from tests.helpers.corpus import read_corpus

CORPUS = Path(__file__).parents[1] / "envs" / "language" / "everyday.txt"


# As the model card says. A better model makes this list shorter.
KNOWN_WRONG = {"3 x (-4)", "((1+2))*3"}


@pytest.mark.slow
def test_the_shipped_model_answers_what_people_type() -> None:
    solver = Solver.load(evaluate.PRETRAINED)
    assert solver.record is not None
    lines = [line for line in read_corpus(CORPUS) if line.answer is not None]
    problems = [solver.read(line.text) for line in lines]
    answers = solver.solve_all(problems)
    wrong = {line.text for line, answer in zip(lines, answers, strict=True) if not answer.correct}
    assert wrong == KNOWN_WRONG
