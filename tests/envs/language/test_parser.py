"""Reading and saying problems: one grammar for roots and subtasks, templates for functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o1nano.envs.errors import O1NanoError, ProblemError
from o1nano.envs.language.expression import Binary, Expr, Function, render
from o1nano.envs.language.templates import fitting, say
from o1nano.envs.language.vocab import DIVIDE, ID, MINUS, PLUS, QUOTIENT_DIGIT, TIMES, spell, tokenize
from o1nano.envs.problems import FAMILIES
from o1nano.envs.problems.problem import Problem
from o1nano.envs.problems.registry import function_readings, read_task
from tests.helpers.expressions import TREES, read_text
from tests.helpers.play import ids, problems


def function(name: str, *args: Expr) -> Function:
    return Function(ID[name], args)


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
    assert read_text(text) == expr


def test_subtasks_are_read_least_significant_digit_first() -> None:
    assert read_task(ids("8 9 + 5 4"), least_first=True) == Binary(PLUS, 98, 45)
    assert read_task(ids("5 0 5 \\ 4 6"), least_first=True) == Binary(QUOTIENT_DIGIT, 505, 64)


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "1+", "*2", "1++2", "1 + * 2", "--3", "(1+2", "1+2)", "()", "1=2", "2(3)", "-(1+2", "3x-4"),
        *("what 1+2", "is 1+2", "what is", "calculate what is 1+2", "the 1 plus 2"),
        *("the sum 1 and 2", "the sum of 1", "the sum of 1 plus 2", "the sum of 1 and 2 plus 3"),
        *("8 divided 2", "8 by 2", "1 and 2", "? 1+2", "1+2 ??"),
    ],
)
def test_what_is_no_expression_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ProblemError, match=r"not a problem.*expected"):
        read_text(text)


@pytest.mark.parametrize(
    ("text", "where"), [("1++2", r"at '\+'"), ("(1+2", "at its end"), ("8 divided 2", "'divided'")]
)
def test_errors_tell_where_the_text_breaks_off(text: str, where: str) -> None:
    with pytest.raises(ProblemError, match=where):
        read_text(text)


@given(TREES, st.booleans())
def test_what_is_rendered_is_parsed_back(expr: Expr, least_first: bool) -> None:
    assert read_task(render(expr, least_first), least_first) == expr


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("gcd(48,36)", function("gcd", 48, 36)),
        ("GCD (48, 36) = ", function("gcd", 48, 36)),
        ("what is gcd(48, 36)?", function("gcd", 48, 36)),
        ("What is the greatest common divisor of 48 and 36?", function("gcd", 48, 36)),
        ("what is the greatest common divisor of 48 and 36", function("gcd", 48, 36)),
        ("gcd(12+3*4, (1+2))", function("gcd", Binary(PLUS, 12, Binary(TIMES, 3, 4)), Binary(PLUS, 1, 2))),
        ("17 mod 5", function("mod", 17, 5)),
        ("What is 17 modulo 5?", function("mod", 17, 5)),
        ("(12 + 34) mod 7", function("mod", Binary(PLUS, 12, 34), 7)),
        ("12 * 34 mod 7", function("mod", Binary(TIMES, 12, 34), 7)),
        ("-12 mod 7", function("mod", -12, 7)),
        ("12 mod (3+4)", function("mod", 12, Binary(PLUS, 3, 4))),
        ("What is the remainder when 12 + 34 is divided by 7?", function("mod", Binary(PLUS, 12, 34), 7)),
        ("total(3, 14, 15)", function("total", 3, 14, 15)),
        ("what is the sum of all numbers in the list 3, 14, 15?", function("total", 3, 14, 15)),
        ("compare(12, 34)", function("compare", 12, 34)),
        ("How does 12 compare to 34?", function("compare", 12, 34)),
        ("which is larger, 12 or 34?", function("max", 12, 34)),
        ("What is the largest of the numbers 3, 14, -15?", function("max", 3, 14, -15)),
        ("3*x+4=19", function("solve", 3, 4, 19)),
        ("3*x-4=11", function("solve", 3, -4, 11)),
        ("-3x-4=-19", function("solve", -3, -4, -19)),
        ("find x in 3 * x + 4 equals 19", function("solve", 3, 4, 19)),
        ("Make 24 from 4, 7, 8, 8", function("make", 24, 4, 7, 8, 8)),
        ("make(24, 4, 7, 8, 8)", function("make", 24, 4, 7, 8, 8)),
        ("find how to make 24 using all of 3, 8", function("make", 24, 3, 8)),
    ],
)
def test_functions_are_read_in_symbols_and_in_words(text: str, task: Function) -> None:
    assert read_text(text) == task


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("gcd(48,)", r"at '\)'"),
        ("gcd(48", "at its end"),
        ("what is the greatest common divisor of 48", "at its end"),
        ("1 + gcd(48, 36)", "at 'gcd'"),
        ("gcd(gcd(48, 36), 6)", "at 'gcd'"),
        ("12 + 34 mod 7", "at 'mod'"),  # of the sum or of 34?
        ("17 mod 5 + 3", r"at '\+'"),  # modulo 5 or modulo 8?
        ("17 mod 5 mod 3", "at 'mod'"),
        ("total(3 14, 15)", "two numbers"),
        ("3*x+4", "at its end"),
        ("x=3", "at 'equals'"),
        ("3*x*x+4=19", r"at '\*'"),
        ("which is larger, 1, 2 or 3?", "at ','"),
        ("make 24 from", "at its end"),
        ("the list is larger", "at 'list'"),
        ("h(3)", "at 'h'"),
    ],
)
def test_nonsense_is_one_line_that_tells_where_it_breaks_off(text: str, where: str) -> None:
    with pytest.raises(O1NanoError, match=where) as error:
        read_text(text)
    assert "\n" not in str(error.value) and "expected" in str(error.value)


def test_subtasks_read_functions_units_first_and_no_words() -> None:
    assert read_task(ids("gcd 8 4 , 6 3"), least_first=True) == function("gcd", 48, 36)
    assert read_task(ids("mod 2 1 + 4 3 , 7"), least_first=True) == function("mod", Binary(PLUS, 12, 34), 7)
    for text in ("which is larger , 1 or 2", "3 * x + 4 equals 9 1", "gcd ( 8 4 , 6 3 )", "1 , 2", "gcd"):
        with pytest.raises(ProblemError):
            read_task(ids(text), least_first=True)


@given(problems(), st.integers(0, 10**6))
def test_every_phrasing_that_fits_is_read_back(problem: Problem, choice: int) -> None:
    assert problem.level is not None
    family, task = FAMILIES[problem.level.family], problem.expr
    if not isinstance(task, Function):
        return
    templates = fitting((family.symbolic, *family.phrasings), len(task.args))
    assert read_task(say(templates[choice % len(templates)], task), least_first=False) == task
    assert read_task(render(task, least_first=True), least_first=True) == task


TEMPLATES = [template for templates in function_readings().values() for template in templates]


@pytest.mark.parametrize("template", TEMPLATES)
def test_all_words_of_the_templates_are_read_by_the_tokenizer(template: str) -> None:
    words = " ".join(word for word in template.split() if word[0] != "{")
    assert spell(tokenize(words)) == words
