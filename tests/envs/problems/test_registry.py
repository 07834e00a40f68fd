"""What depends on the family of a task: its answer, the verdict on an answer, its canonical key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Function
from o1nano.envs.language.vocab import DIVIDE, ID, PLUS, QUOTIENT_DIGIT, TIMES, answer_text, spell
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.registry import canonical, expected_answer, function_readings, is_right
from tests.helpers.expressions import read_text
from tests.helpers.play import ids


@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_a_division_is_answered_by_quotient_and_remainder(left: int, right: int) -> None:
    quotient, remainder = divmod(left, right)
    visible = f"{quotient} R {remainder}" if remainder else str(quotient)
    assert answer_text(expected_answer(Binary(DIVIDE, left, right), least_first=False)) == visible


@pytest.mark.parametrize(
    ("text", "root", "child"),
    [
        ("98+45", "1 4 3", "3 4 1"),
        ("34-53", "- 1 9", "- 9 1"),
        ("5-5", "0", "0"),
        ("47*86", "4 0 4 2", "2 4 0 4"),
        ("8914/64", "1 3 9 R 1 8", "9 3 1 R 8 1"),
        ("8/4", "2", "2 R 0"),
        ("3/5", "0 R 3", "0 R 3"),
        ("-8/2", "- 4", "- 4 R 0"),
        ("8/-2", "- 4", "- 4 R 0"),
        ("-8/-2", "4", "4 R 0"),
        ("-7/2", "- 4 R 1", "- 4 R 1"),
        ("7/-2", "- 4 R - 1", "- 4 R - 1"),
        ("-7/-2", "3 R - 1", "3 R - 1"),
        ("-1/12", "- 1 R 1 1", "- 1 R 1 1"),
        ("-(2+3)", "- 5", "- 5"),
        ("3*-(2+3)", "- 1 5", "- 5 1"),
        ("8/2/2", "2", "2 R 0"),
        ("(8/2)+1", "5", "5"),
        ("(12+7)*5-8/2", "9 1", "1 9"),
    ],
)
def test_answer(text: str, root: str, child: str) -> None:
    assert spell(expected_answer(read_text(text), least_first=False)) == root
    assert spell(expected_answer(read_text(text), least_first=True)) == child


def test_one_quotient_digit_is_answered_with_its_remainder() -> None:
    assert spell(expected_answer(Binary(QUOTIENT_DIGIT, 505, 64), least_first=True)) == "7 R 7 5"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1/0", "1/0 divides by zero"),
        ("-8/0", "divides by zero"),
        ("1+2/0", "divides by zero"),
        ("7/2+1", "7/2 has a remainder"),
        ("(3+4)/2", "7/2 has a remainder"),
        ("7/2/2", "7/2 has a remainder"),
    ],
)
def test_divisions_without_an_exact_answer_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ProblemError, match=why):
        expected_answer(read_text(text), least_first=False)


def test_a_function_is_answered_and_judged_by_its_family() -> None:
    task = Function(ID["total"], (3, 14, 15))
    assert spell(expected_answer(task, least_first=True)) == "2 3"
    assert is_right(task, bytes(ids("3 2")), least_first=False)
    assert not is_right(task, bytes(ids("2 3")), least_first=False)


def test_arithmetic_is_judged_by_equality() -> None:
    assert is_right(Binary(PLUS, 98, 45), bytes(ids("3 4 1")), least_first=True)
    assert not is_right(Binary(PLUS, 98, 45), bytes(ids("3 4 1 0")), least_first=True)
    with pytest.raises(ProblemError, match="divides by zero"):
        is_right(Binary(DIVIDE, 1, 0), b"", least_first=True)


def test_the_value_of_an_argument_is_that_of_its_expression() -> None:
    assert expected_answer(Function(ID["max"], (5, Binary(TIMES, 2, 3))), least_first=False) == ids("6")
    with pytest.raises(ProblemError, match="7/2 has a remainder"):
        expected_answer(Function(ID["max"], (5, Binary(DIVIDE, 7, 2))), least_first=False)


def test_a_function_without_a_family_is_refused_by_name() -> None:
    assert ID["h"] not in function_readings()
    with pytest.raises(ProblemError, match="no family has the function 'h'; expected one of gcd, mod, total"):
        expected_answer(Function(ID["h"], (1,)), least_first=False)


@pytest.mark.parametrize("name", ["gcd", "total", "compare", "max"])
def test_the_order_of_arguments_makes_no_difference(name: str) -> None:
    assert canonical(Function(ID[name], (1, 23))) == canonical(Function(ID[name], (23, 1)))


@pytest.mark.parametrize("name", ["mod", "solve"])
def test_the_order_of_arguments_makes_a_difference(name: str) -> None:
    assert canonical(Function(ID[name], (1, 23))) != canonical(Function(ID[name], (23, 1)))


def test_the_order_of_the_numbers_of_countdown_makes_no_difference() -> None:
    make = [canonical(Function(ID["make"], numbers)) for numbers in ((24, 1, 2, 8), (24, 8, 2, 1), (8, 1, 2, 24))]
    assert make[0] == make[1] != make[2]


def test_functions_of_the_same_numbers_have_different_keys() -> None:
    functions = function_readings()
    keys = {canonical(Function(op, (1, 23))) for op in functions}
    assert len(keys) == len(functions) >= 7


def test_families_are_registered_by_their_names() -> None:
    assert [family.name for family in FAMILIES.values()] == list(FAMILIES)
