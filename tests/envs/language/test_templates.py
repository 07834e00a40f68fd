"""Templates: what they say, which fit, and what their slots read."""

from __future__ import annotations

import pytest

from o1nano.envs.errors import ProblemError
from o1nano.envs.language.expression import Binary, Expr, Function, Task
from o1nano.envs.language.reader import Reader
from o1nano.envs.language.templates import fitting, read_function, say
from o1nano.envs.language.vocab import ID, PLUS, TIMES, spell, tokenize


def function(name: str, *args: Expr) -> Function:
    return Function(ID[name], args)


def test_what_is_said_has_the_parentheses_that_it_needs() -> None:
    def said(template: str, task: Task) -> str:
        return spell(say(template, task))

    total, product = Binary(PLUS, 1, 2), Binary(TIMES, 1, 2)
    assert said("{a} mod {b}", function("mod", total, 7)) == "( 1 + 2 ) mod 7"
    assert said("{a} mod {b}", function("mod", product, 7)) == "1 * 2 mod 7"
    assert said("{a} mod {b}", function("mod", 7, product)) == "7 mod ( 1 * 2 )"
    assert said("{op} ( {list} )", function("mod", total, 7)) == "mod ( 1 + 2 , 7 )"
    assert said("{a} * x {+b} equals {c}", function("solve", total, -4, 11)) == "( 1 + 2 ) * x - 4 equals 1 1"
    assert said("make {a} from {list}", function("make", 24, 3, 8)) == "make 2 4 from 3 , 8"


def test_a_template_fits_the_number_of_arguments() -> None:
    templates = ("which is larger , {a} or {b} ?", "make {a} from {list}", "what is {expr} ?")
    assert fitting(templates, 1) == templates[2:]
    assert fitting(templates, 2) == templates
    assert fitting(templates, 3) == templates[1:]


@pytest.mark.parametrize(
    ("template", "task"),
    [
        ("{a} mod {b}", function("mod", 17, 5)),
        ("what is {a} modulo {b} ?", function("mod", Binary(TIMES, 3, 4), 5)),
        ("{op} ( {list} )", function("total", 3, Binary(PLUS, 1, 4), 15)),
        ("{op} ( {pairs} ) {a} {+b}", function("recall", 7, -8, 7, 1, 8, 2)),
        ("{a} x {+b} equals {c}", function("solve", 3, -4, 11)),
    ],
)
def test_what_a_template_says_it_reads(template: str, task: Function) -> None:
    reader = Reader(say(template, task), least_first=False)
    assert read_function(template, task.op, reader) == task


def test_a_question_mark_may_be_left_out() -> None:
    reader = Reader(tokenize("what is 17 modulo 5"), least_first=False)
    assert read_function("what is {a} modulo {b} ?", ID["mod"], reader) == function("mod", 17, 5)


def test_an_error_leaves_the_reader_where_it_broke_off() -> None:
    reader = Reader(tokenize("what is 17 times 5"), least_first=False)
    with pytest.raises(ProblemError, match="breaks off at its end"):
        read_function("what is {a} modulo {b} ?", ID["mod"], reader)
    assert reader.position == len(tokenize("what is 17 times 5"))


def test_a_whole_expression_is_only_said() -> None:
    with pytest.raises(ProblemError, match="not a problem"):
        read_function("calculate {expr}", PLUS, Reader(tokenize("calculate 1+2"), least_first=False))
