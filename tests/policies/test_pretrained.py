"""The shipped model: small, whole, and as good as its card says on a sample."""

from __future__ import annotations

import numpy as np
import pytest

import evaluate
from o1nano.agents.evaluation.held_out import held_out, standard_levels
from o1nano.agents.evaluation.probes import probe
from o1nano.policies.search.solver import Solver


def test_the_shipped_model_is_small_and_solves_what_its_card_says() -> None:
    assert evaluate.PRETRAINED.stat().st_size < 5_000_000
    solver = Solver.load(evaluate.PRETRAINED)
    answers = solver.solve_all(held_out(standard_levels(6, 2), 4))
    assert np.mean([answer.correct for answer in answers]) > 0.93
    assert solver.solve("What is 98 plus 45?").text == "143"
    assert solver.solve("34-53", paths=3).text == "-19"


@pytest.mark.integration
def test_it_reasons() -> None:
    found = probe(Solver.load(evaluate.PRETRAINED), held_out(standard_levels(3, 1)[:3], 8))
    assert found["intact"] == 1.0
    assert found["swapped"] < 0.2 and found["blank"] < 0.5
