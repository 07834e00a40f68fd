"""Expressions and functions: exact values, exact verdicts, one canonical form."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import (
    RULES,
    Binary,
    Expr,
    Function,
    Task,
    accepts,
    answer,
    apply,
    canonical,
    evaluate,
    render,
)
from o1nano.envs.language.parser import parse
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, PLUS, QUOTIENT_DIGIT, TIMES, answer_text, spell, tokenize
from o1nano.envs.problems import FAMILIES
from tests.envs.language.test_parser import OPERATORS, TREES
from tests.helpers.play import ids


def read(text: str) -> Expr | Task:
    return parse(tokenize(text), least_first=False)


def arithmetic(text: str) -> Expr:
    expr = read(text)
    assert not isinstance(expr, Function)
    return expr


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("+-*")), min_size=1, max_size=6), st.integers(0, 999))
def test_precedence_and_value_are_those_of_python(terms: list[tuple[int, str]], last: int) -> None:
    text = "".join(f"{number}{operator}" for number, operator in terms) + str(last)
    assert evaluate(arithmetic(text)) == eval(text)


@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_a_division_is_answered_by_quotient_and_remainder(left: int, right: int) -> None:
    quotient, remainder = divmod(left, right)
    visible = f"{quotient} R {remainder}" if remainder else str(quotient)
    assert answer_text(answer(Binary(DIVIDE, left, right), least_first=False)) == visible


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
        ("8/2/2", "2", "2 R 0"),
        ("(8/2)+1", "5", "5"),
        ("(12+7)*5-8/2", "9 1", "1 9"),
    ],
)
def test_answer(text: str, root: str, child: str) -> None:
    assert spell(answer(read(text), least_first=False)) == root
    assert spell(answer(read(text), least_first=True)) == child


def test_one_quotient_digit_is_answered_with_its_remainder() -> None:
    assert spell(answer(Binary(QUOTIENT_DIGIT, 505, 64), least_first=True)) == "7 R 7 5"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1/0", "1/0 divides by zero"),
        ("-8/0", "divides by zero"),
        ("1+2/0", "divides by zero"),
        ("-7/2", "-7/2 has a remainder"),
        ("7/-2", "has a remainder"),
        ("7/2+1", "7/2 has a remainder"),
        ("(3+4)/2", "7/2 has a remainder"),
        ("7/2/2", "7/2 has a remainder"),
    ],
)
def test_divisions_without_an_exact_answer_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ProblemError, match=why):
        answer(read(text), least_first=False)


def test_apply_by_hand() -> None:
    assert apply(PLUS, -3, 5) == 2
    assert apply(MINUS, 3, 5) == -2
    assert apply(TIMES, -3, 5) == -15
    assert apply(DIVIDE, 17, 5) == (3, 2)
    assert apply(DIVIDE, -15, 5) == (-3, 0)
    assert apply(QUOTIENT_DIGIT, 17, 5) == (3, 2)


@given(TREES, TREES, OPERATORS)
def test_commuted_operands_share_a_canonical_form(left: Expr, right: Expr, op: int) -> None:
    assert canonical(Binary(op, left, right)) == canonical(Binary(op, right, left))


def test_the_canonical_form_ignores_parentheses_only() -> None:
    assert canonical(read("(1+2)*3")) == canonical(replace(Binary(TIMES, Binary(PLUS, 1, 2), 3), parens=True))
    assert canonical(read("1+(2*3)")) == canonical(read("2*3+1"))
    different = ["1+2", "1-2", "1*2", "1/2", "12+0", "1+2+3", "1+(2+3)", "(1+2)*3", "1+2*3", "-1+2"]
    assert len({canonical(read(text)) for text in different}) == len(different)


def test_functions_are_written_with_commas() -> None:
    task = Function(ID["gcd"], (48, Binary(PLUS, 12, -3)))
    assert spell(render(task, least_first=True)) == "gcd 8 4 , 2 1 + - 3"
    assert spell(render(task, least_first=False)) == "gcd 4 8 , 1 2 + - 3"


def test_a_function_is_answered_and_judged_by_its_family() -> None:
    task = Function(ID["total"], (3, 14, 15))
    assert spell(answer(task, least_first=True)) == "2 3"
    assert accepts(task, bytes(ids("3 2")), least_first=False)
    assert not accepts(task, bytes(ids("2 3")), least_first=False)


def test_arithmetic_is_judged_by_equality() -> None:
    assert accepts(Binary(PLUS, 98, 45), bytes(ids("3 4 1")), least_first=True)
    assert not accepts(Binary(PLUS, 98, 45), bytes(ids("3 4 1 0")), least_first=True)
    with pytest.raises(ProblemError, match="divides by zero"):
        accepts(Binary(DIVIDE, 1, 0), b"", least_first=True)


def test_the_value_of_an_argument_is_that_of_its_expression() -> None:
    assert answer(Function(ID["max"], (5, Binary(TIMES, 2, 3))), least_first=False) == ids("6")
    with pytest.raises(ProblemError, match="7/2 has a remainder"):
        answer(Function(ID["max"], (5, Binary(DIVIDE, 7, 2))), least_first=False)


def test_a_function_without_a_family_is_refused_by_name() -> None:
    assert ID["h"] not in RULES
    with pytest.raises(ProblemError, match="'h' has no family; accepted: gcd, mod, total"):
        answer(Function(ID["h"], (1,)), least_first=False)


def test_arguments_share_a_canonical_form_where_their_order_does_not_matter() -> None:
    for name in ("gcd", "total", "compare", "max"):
        assert canonical(Function(ID[name], (1, 23))) == canonical(Function(ID[name], (23, 1)))
    for name in ("mod", "solve"):
        assert canonical(Function(ID[name], (1, 23))) != canonical(Function(ID[name], (23, 1)))
    make = [canonical(Function(ID["make"], numbers)) for numbers in ((24, 1, 2, 8), (24, 8, 2, 1), (8, 1, 2, 24))]
    assert make[0] == make[1] != make[2]
    functions = [canonical(Function(op, (1, 23))) for op in RULES]
    assert len(set(functions)) == len(RULES) >= 7
    assert {family.name for family in FAMILIES.values()} == set(FAMILIES)
