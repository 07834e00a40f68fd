"""Held-out problems: all different, the same for a seed, and all of them if the split has fewer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from itertools import product

import pytest

from o1nano.agents.evaluation.held_out import Cell, held_out, shortfall, standard_levels, wilson
from o1nano.agents.evaluation.reports import comparison
from o1nano.envs.core.usage import Usage
from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE, MINUS, PLUS, TIMES
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import read_level, split_of
from o1nano.envs.problems.registry import canonical

OPS = {"addition": PLUS, "subtraction": MINUS, "multiplication": TIMES, "division": DIVIDE}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_cell_has_a_problem_twice(family: str) -> None:
    problems = held_out([read_level(f"{family}/1"), read_level(f"{family}/2")], 30)
    keys = Counter((problem.level, canonical(problem.expr)) for problem in problems)
    assert set(keys.values()) == {1}
    assert {split_of(problem.expr) for problem in problems} == {"test"}


def test_where_there_are_fewer_all_are_asked() -> None:
    for family, op in OPS.items():
        every = (Binary(op, left, right) for left, right in product(range(10), repeat=2) if right or op != DIVIDE)
        expected = {canonical(task) for task in every if split_of(task) == "test"}
        for seed in (0, 1):
            found = held_out([read_level(f"{family}/1")], 200, seed)
            assert {canonical(problem.expr) for problem in found} == expected
            assert len(found) == len(expected) < 15


def test_the_same_seed_has_the_same_problems_and_more_have_the_fewer_first() -> None:
    cells = standard_levels(2, 1)
    assert held_out(cells, 20, 3) == held_out(cells, 20, 3) != held_out(cells, 20, 4)
    (cell,) = standard_levels(2, 1)[1:2]
    assert held_out([cell], 40, 3)[:20] == held_out([cell], 20, 3)


def test_the_interval_and_the_tables_have_the_problems_that_were_measured() -> None:
    one = Cell("addition/1", 13, 13, 13, Usage())
    two = Cell("addition/2", 200, 200, 200, Usage())
    assert one.interval == wilson(13, 13) and one.interval[0] < 0.78
    counts = {cell.name: cell.n for cell in (one, two)}
    assert shortfall(counts, 200) == (
        "fewer than 200 different problems in the test split, all asked: addition/1 has 13"
    )
    assert shortfall(counts, 13) == ""
    rows = comparison([one, two], [one, two], {"average_before": 1.0, "average_after": 1.0}).splitlines()
    assert [row.split()[1] for row in rows[1:3]] == ["13", "200"]


def test_a_cell_is_restored_and_shows_means() -> None:
    cell = Cell("addition/1", 4, 2, 3, Usage(reasoning_tokens=6, completion_tokens=8, subtask_tokens=2, subtasks=2))
    assert Cell.restore(json.loads(json.dumps(asdict(cell)))) == cell
    figures = cell.as_dict()
    assert (figures["tokens"], figures["hidden_tokens"], figures["subtasks"]) == (4.0, 2.0, 0.5)
    assert figures["accuracy"] == 0.5
