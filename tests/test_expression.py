"""Expressions: one grammar for roots and subtasks, exact values, one canonical form."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import ProblemError
from o1nano.envs.expression import Binary, Expr, answer, apply, canonical, evaluate, parse, render
from o1nano.envs.vocab import DIVIDE, MINUS, PLUS, QUOTIENT_DIGIT, TIMES, answer_text, spell, tokenize
from tests.helpers import ids


def read(text: str) -> Expr:
    return parse(tokenize(text), least_first=False)


def in_parentheses(op: int, left: Expr, right: Expr) -> Binary:
    return Binary(op, left, right, parens=True)


NUMBERS = st.integers(-(10**12), 10**12)
OPERATORS = st.sampled_from((PLUS, MINUS, TIMES))
TREES = st.recursive(
    NUMBERS, lambda inner: st.builds(in_parentheses, OPERATORS | st.just(DIVIDE), inner, inner), max_leaves=8
)


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("98+45", Binary(PLUS, 98, 45)),
        ("What is 98 plus 45?", Binary(PLUS, 98, 45)),
        ("calculate the sum of 98 and 45", Binary(PLUS, 98, 45)),
        ("what is the difference between 3 and 5 ?", Binary(MINUS, 3, 5)),
        ("the difference of 3 and 5", Binary(MINUS, 3, 5)),
        ("calculate 3 times 5", Binary(TIMES, 3, 5)),
        ("what is the product of 3 and 5", Binary(TIMES, 3, 5)),
        ("calculate 8 divided by 2", Binary(DIVIDE, 8, 2)),
        ("what is the quotient of 8 and 2 ?", Binary(DIVIDE, 8, 2)),
        ("-3--5", Binary(MINUS, -3, -5)),
        ("2*-3", Binary(TIMES, 2, -3)),
        ("1-2-3", Binary(MINUS, Binary(MINUS, 1, 2), 3)),
        ("1-(2-3)", Binary(MINUS, 1, Binary(MINUS, 2, 3, parens=True))),
        ("1+2*3", Binary(PLUS, 1, Binary(TIMES, 2, 3))),
        ("1*2+3", Binary(PLUS, Binary(TIMES, 1, 2), 3)),
        ("8/4/2", Binary(DIVIDE, Binary(DIVIDE, 8, 4), 2)),
        ("(1+2)", Binary(PLUS, 1, 2, parens=True)),
        ("((7))", 7),
        ("007", 7),
    ],
)
def test_parse(text: str, expr: Expr) -> None:
    assert read(text) == expr


def test_subtasks_are_read_least_significant_digit_first() -> None:
    assert parse(ids("8 9 + 5 4"), least_first=True) == Binary(PLUS, 98, 45)
    assert parse(ids("5 0 5 \\ 4 6"), least_first=True) == Binary(QUOTIENT_DIGIT, 505, 64)


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "1+", "*2", "1++2", "1 + * 2", "--3", "(1+2", "1+2)", "()", "-(1+2)", "1=2", "98+45=?", "2(3)"),
        *("what 1+2", "is 1+2", "what is", "calculate what is 1+2", "the 1 plus 2", "sum of 1 and 2"),
        *("the sum 1 and 2", "the sum of 1", "the sum of 1 plus 2", "the sum of 1 and 2 plus 3"),
        *("8 divided 2", "8 by 2", "1 and 2", "? 1+2", "1+2 ??"),
    ],
)
def test_what_is_no_expression_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ProblemError, match=r"not a problem.*accepted"):
        read(text)


@pytest.mark.parametrize(
    ("text", "where"), [("1++2", r"at '\+'"), ("(1+2", "at its end"), ("8 divided 2", "'divided'")]
)
def test_errors_tell_where_the_text_breaks_off(text: str, where: str) -> None:
    with pytest.raises(ProblemError, match=where):
        read(text)


@given(TREES, st.booleans())
def test_what_is_rendered_is_parsed_back(expr: Expr, least_first: bool) -> None:
    assert parse(render(expr, least_first), least_first) == expr


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("+-*")), min_size=1, max_size=6), st.integers(0, 999))
def test_precedence_and_value_are_those_of_python(terms: list[tuple[int, str]], last: int) -> None:
    text = "".join(f"{number}{operator}" for number, operator in terms) + str(last)
    assert evaluate(read(text)) == eval(text)


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
