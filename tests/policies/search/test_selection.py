"""Choice among paths, and the model's own checks, on answers made by hand."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.core.usage import Usage
from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary
from o1nano.envs.language.vocab import DIVIDE
from o1nano.envs.problems.problem import from_expression, read
from o1nano.policies.search.answers import Answer
from o1nano.policies.search.selection import pass_at_k, select_answer
from o1nano.policies.search.self_checks import (
    digital_roots,
    inverse_holds,
    is_checkable,
    nines_hold,
    read_claim,
    read_number,
    second_check_holds,
)

PROBLEM = read("98+45")


def path(text: str, log_prob: float = -1.0, tokens: int = 10) -> Answer:
    outcome = "answered" if text else "frame_full"
    return Answer(PROBLEM, text, text == "143", outcome, Usage(tokens, paths=1), log_prob=log_prob)


def test_the_majority_decides_and_likelihood_breaks_ties() -> None:
    paths = [path("1", -9), path("143", -5), path("1", -8), path("143", -6)]
    assert select_answer(paths, "majority") is paths[1]
    assert select_answer([*paths, path("1", -99)], "majority") is paths[2]


def test_every_way_of_choosing_follows_its_own_argument() -> None:
    paths = [path("1", -1), path("2", -2), path("143", -3), path("4", -4), path("4", -5)]
    assert select_answer(paths, "likelihood") is paths[0]
    assert select_answer(paths, "oracle") is paths[2]
    assert select_answer(paths, "majority") is paths[3]
    assert select_answer(paths, "check", [0, 1, 2, 0, 0]) is paths[2]
    assert select_answer(paths, "check", [0, 0, 0, 1, 1]) is paths[3]


@pytest.mark.parametrize("select", ["majority", "likelihood", "check", "oracle"])
def test_no_answer_is_never_preferred_and_length_is_no_argument(select: Any) -> None:
    silent, short, long = path("", -0.1), path("1", -2, tokens=5), path("2", -3, tokens=500)
    assert select_answer([silent, short], select, [2, 0]).text == "1"
    assert select_answer([long, short], select, [0, 0]) is select_answer([short, long], select, [0, 0]) is short
    assert select_answer([silent], select, [0]) is silent


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_path(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations(range(n), k))
    expected = sum(min(subset) < right for subset in subsets) / len(subsets)
    assert pass_at_k(n, right, k) == pytest.approx(expected)


def exactly(expressions: list[Binary]) -> list[int | None]:
    """A model without faults."""
    numbers: list[int | None] = []
    for expression in expressions:
        try:
            numbers.append(read_number(from_expression(expression).answer_text))
        except ProblemError:
            numbers.append(None)
    return numbers


numbers = st.integers(0, 10**6)


@given(st.sampled_from("+-*/"), numbers, numbers, st.integers(-(10**6), 10**6))
def test_checks_pass_what_is_right_and_catch_what_they_can(op: str, left: int, right: int, error: int) -> None:
    if op == "/" and not right:
        return
    problem = read(f"{left}{op}{right}")
    good = read_claim(problem, problem.answer_text)
    assert good is not None
    assert inverse_holds([good], exactly) == nines_hold([good], exactly) == [True]
    bad = good._replace(result=good.result + error)
    if not error or (op != "-" and bad.result < 0) or (op == "-" and (good.result < 0) != (bad.result < 0)):
        return
    if op == "/":  # one time less: the remainder is no remainder, whatever the checks would say of the sum
        assert read_claim(problem, f"{good.result - 1} R {good.rest + right}") is None
    if op in "+-" or (right and left):
        assert inverse_holds([bad], exactly) == [False]
    factor = right if op == "/" else 1
    assert nines_hold([bad], exactly) == [error * factor % 9 == 0]
    assert nines_hold([bad], exactly, group=2) == [error * factor % 99 == 0]


@given(st.sampled_from("+-*"), st.integers(-999, 999), st.integers(-999, 999), st.integers(1, 9))
def test_checks_know_negative_numbers(op: str, left: int, right: int, error: int) -> None:
    problem = read(f"{left}{op}{right}")
    good = read_claim(problem, problem.answer_text)
    assert good is not None
    assert nines_hold([good], exactly) == [True]
    assert nines_hold([good._replace(result=good.result + error)], exactly) == [error == 9]
    if op != "*":  # a negative division may leave no remainder, which a wrong answer would
        assert inverse_holds([good], exactly) == [True]


@given(st.lists(numbers), st.sampled_from([1, 2]))
def test_digital_roots_are_remainders_of_nines(values: list[int], group: int) -> None:
    nines = 9 if group == 1 else 99
    expected = [1 + (value - 1) % nines if value else 0 for value in values]
    assert digital_roots(values, exactly, group) == expected


@pytest.mark.parametrize(
    ("problem", "answer", "divides"),
    [("123*45", "5535", False), ("-5*678", "-3390", False), ("12*34", "408", True), ("99*0", "0", False)],
)
def test_only_short_products_are_divided_back(problem: str, answer: str, divides: bool) -> None:
    asked: list[Binary] = []

    def ask(expressions: list[Binary]) -> list[int | None]:
        asked.extend(expressions)
        return exactly(expressions)

    claim = read_claim(read(problem), answer)
    assert claim is not None and second_check_holds([claim], ask) == [True]
    assert any(expression.op == DIVIDE for expression in asked) == divides


@pytest.mark.parametrize("problem", ["98+45", "914/64", "(1+2)*3", "gcd(48,36)", "12+3+4"])
def test_one_operation_on_two_numbers_can_be_checked(problem: str) -> None:
    assert is_checkable(read(problem)) == (problem in ("98+45", "914/64"))


def test_what_is_no_number_is_told_apart() -> None:
    texts = ("143", "-7", "7 R 3", "_", "4*(2", "")
    assert [read_number(text) for text in texts] == [143, -7, None, None, None, None]


def test_a_model_that_does_not_answer_fails_its_checks() -> None:
    claims = [read_claim(read("98+45"), "143"), read_claim(read("914/64"), "14 R 18")]
    silent: Any = lambda expressions: [None] * len(expressions)  # noqa: E731
    assert inverse_holds([c for c in claims if c], silent) == [False, False]


@pytest.mark.parametrize("wrong", [18, 10, 100, 10**40, -1])
def test_digit_sums_that_never_end_have_no_root(wrong: int) -> None:
    always: Any = lambda expressions: [wrong] * len(expressions)  # noqa: E731
    assert digital_roots([5, 98, 12345], always) == [5, None, None]


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ("(1+2)*3", "9"),
        ("gcd(48,36)", "12"),
        ("914/64", "13 R 82"),
        ("16/4", "3 R 4"),
        *(("98+45", text) for text in ("", "_", "4*(2", "143 R 3", "143 R")),
    ],
)
def test_only_single_operations_with_possible_remainders_are_claims(problem: str, text: str) -> None:
    assert read_claim(read(problem), text) is None
