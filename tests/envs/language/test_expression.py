"""Expressions: exact values, how they are written, one canonical form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.language.expression import (
    Binary,
    Expr,
    Function,
    apply,
    canonical_arithmetic,
    evaluate,
    render,
)
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, PLUS, QUOTIENT_DIGIT, TIMES, spell
from tests.helpers.expressions import OPERATORS, TREES, read_text


def arithmetic(text: str) -> Expr:
    expr = read_text(text)
    assert not isinstance(expr, Function)
    return expr


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("+-*")), min_size=1, max_size=6), st.integers(0, 999))
def test_precedence_and_value_are_those_of_python(terms: list[tuple[int, str]], last: int) -> None:
    text = "".join(f"{number}{operator}" for number, operator in terms) + str(last)
    assert evaluate(arithmetic(text)) == eval(text)


def test_apply_by_hand() -> None:
    assert apply(PLUS, -3, 5) == 2
    assert apply(MINUS, 3, 5) == -2
    assert apply(TIMES, -3, 5) == -15
    assert apply(DIVIDE, 17, 5) == (3, 2)
    assert apply(DIVIDE, -15, 5) == (-3, 0)
    assert apply(QUOTIENT_DIGIT, 17, 5) == (3, 2)


@given(TREES, TREES, OPERATORS)
def test_commuted_operands_share_a_canonical_form(left: Expr, right: Expr, op: int) -> None:
    assert canonical_arithmetic(Binary(op, left, right)) == canonical_arithmetic(Binary(op, right, left))


def test_the_canonical_form_ignores_parentheses() -> None:
    product = Binary(TIMES, Binary(PLUS, 1, 2), 3, parens=True)
    assert canonical_arithmetic(arithmetic("(1+2)*3")) == canonical_arithmetic(product)
    assert canonical_arithmetic(arithmetic("1+(2*3)")) == canonical_arithmetic(arithmetic("2*3+1"))


def test_functions_are_written_with_commas() -> None:
    task = Function(ID["gcd"], (48, Binary(PLUS, 12, -3)))
    assert spell(render(task, least_first=True)) == "gcd 8 4 , 2 1 + - 3"
    assert spell(render(task, least_first=False)) == "gcd 4 8 , 1 2 + - 3"
