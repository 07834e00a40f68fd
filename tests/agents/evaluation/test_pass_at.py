"""pass@k by level, and its table."""

from __future__ import annotations

from dataclasses import replace

from o1nano.agents.evaluation.pass_at import measure_pass_at, pass_at_table
from o1nano.envs.problems.problem import Level, Problem, read
from o1nano.policies.search.answers import Answer


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
