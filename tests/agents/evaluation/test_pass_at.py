"""pass@k: the estimator against hand-computed and enumerated values, and its table."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.agents.evaluation.pass_at import measure_pass_at, pass_at_k, pass_at_table
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.problems.problem import Level, Problem, read
from o1nano.policies.search.answers import Answer


@pytest.mark.parametrize(
    "samples, correct, k, share",
    [
        (3, 1, 1, 1 / 3),
        (3, 1, 2, 2 / 3),  # of the pairs {right, a}, {right, b}, {a, b} two hold the right one
        (3, 1, 3, 1.0),
        (4, 2, 2, 5 / 6),
        (5, 0, 5, 0.0),
        (5, 5, 1, 1.0),
        (1000, 1, 250, 0.25),
    ],
)
def test_pass_at_k_is_the_share_of_choices_with_a_right_sample(
    samples: int, correct: int, k: int, share: float
) -> None:
    assert pass_at_k(samples, correct, k) == pytest.approx(share)


@given(samples=st.integers(1, 8), data=st.data())
def test_pass_at_k_agrees_with_counting_all_choices(samples: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    choices = list(combinations([index < correct for index in range(samples)], k))
    assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize("k", [0, 4])
def test_a_k_that_is_not_among_the_samples_is_refused(k: int) -> None:
    with pytest.raises(ConfigurationError, match=f"k={k} with 3 samples; expected 1 to 3"):
        pass_at_k(3, 1, k)


def test_levels_are_measured_apart_and_shown_with_their_interval() -> None:
    def attempts(problem: Problem, *right: bool) -> list[Answer]:
        return [Answer(problem, "", is_right, "answered") for is_right in right]

    sums = replace(read("3+4"), level=Level("addition", 1))
    products = replace(read("3*4"), level=Level("multiplication", 1))
    explored = [attempts(sums, True, False), attempts(sums, False, False), attempts(products, True, True)]

    first, second = measure_pass_at(explored, [1, 2])
    assert (first.name, first.n, first.solved, first.shares) == ("addition/1", 2, 1, {1: 0.25, 2: 0.5})
    assert (second.name, second.n, second.solved, second.shares) == ("multiplication/1", 1, 1, {1: 1.0, 2: 1.0})
    assert first.as_dict()["pass_at"] == {"1": 0.25, "2": 0.5}

    head, row, _ = pass_at_table([first, second]).splitlines()
    assert head.split()[:4] == ["task/size", "n", "pass@1", "pass@2"]
    assert row.split()[:4] == ["addition/1", "2", "25.0%", "50.0%"]
